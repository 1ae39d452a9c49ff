"""How far the search for each kernel is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from lwc.targets.kernels.search_space import Choice
from lwc.tune.circumstances import ROUNDS
from lwc.tune.records import Trial, canonical_json
from lwc.tune.tasks import Task

# A choice is worth confirming, and then using, where it takes this part of the planned kernel's time or less.
WORTH = 0.97
_FINALISTS = 3


def is_usable(trial: Trial) -> bool:
    """Whether a trial was confirmed, and its choice is worth using in place of the planned kernel."""
    return trial.outcome == "measured" and trial.rounds >= ROUNDS and trial.ratio <= WORTH


@dataclass
class Search:
    """The search for one kernel: all of its trials by choice, those of earlier runs included.

    `exhausted`: no further kernel of the space was found, or the planned one cannot be tried: `fault` says why.
    """

    task: Task
    trials: dict[str, Trial] = field(default_factory=dict)
    exhausted: bool = False
    fault: str = ""

    def take(self, trial: Trial) -> None:
        """Enter a trial in place of an earlier one of its choice."""
        self.trials[canonical_json(trial.choice)] = trial

    @property
    def planned(self) -> float:
        """Microseconds of the planned kernel by itself, the median over all trials; infinite where there is none."""
        alone = [trial for trial in self.trials.values() if trial.rounds <= ROUNDS]
        times = [trial.default_microseconds for trial in alone if trial.default_microseconds is not None]
        return median(times) if times else math.inf

    @property
    def best(self) -> Trial | None:
        """The fastest usable trial."""
        return min(filter(is_usable, self.trials.values()), key=lambda trial: trial.ratio, default=None)

    @property
    def gain(self) -> float:
        """Microseconds that the best saves in the whole model."""
        return 0.0 if self.best is None else (1 - self.best.ratio) * self.planned * len(self.task.layers)

    @property
    def hope(self) -> float:
        """Microseconds that its fastest trial would save in the whole model, confirmed or not."""
        fastest = min((trial.ratio for trial in self.trials.values()), default=1.0)
        return (1 - fastest) * self.planned * len(self.task.layers) if self.trials else 0.0

    @property
    def was_given_up(self) -> bool:
        """Whether a choice was confirmed, and then seen to be slower in a model."""
        return any(trial.rounds > ROUNDS and not is_usable(trial) for trial in self.trials.values())

    @property
    def weight(self) -> float:
        """What the kernel takes in the whole model, by how much was tried: where the next trials should go."""
        return self.planned * len(self.task.layers) / (1 + len(self.trials))

    def finalists(self) -> tuple[Choice, ...]:
        """The choices to confirm: the fastest of those that seem faster than all that is confirmed."""
        limit = WORTH if self.best is None else min(WORTH, self.best.ratio)
        hopeful = [t for t in self.trials.values() if t.rounds < ROUNDS and t.ratio < limit]
        return tuple(t.choice for t in sorted(hopeful, key=lambda trial: trial.ratio)[:_FINALISTS])


def how_far(searches: Sequence[Search]) -> str:
    """All of them in a few words."""
    trials, gain = sum(len(search.trials) for search in searches), sum(search.gain for search in searches)
    return f"{trials} trials, {gain:.1f} us gained"
