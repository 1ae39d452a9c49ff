"""The search over all kernels of a model: batches of trials where most is to be gained, each kept as it comes."""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from lwc.targets.kernels.search_space import Choice, with_choice
from lwc.tune.bench import Batch, Bench
from lwc.tune.circumstances import MODEL_ROUNDS, ROUNDS
from lwc.tune.effort import Effort
from lwc.tune.outcomes import trial_of
from lwc.tune.progress import Search
from lwc.tune.records import Circumstances, Trial, canonical_json
from lwc.tune.search import next_choices
from lwc.tune.store import Store, replaces
from lwc.tune.tasks import Task
from lwc.tune.trials import Refusal

# With the planned kernel, eight in a program.
_BATCH = 7
# The part of the time that the search may take; the rest is for confirming what it found.
_SEARCHING = 0.85
# Microseconds of a planned kernel that was not measured yet.
_UNKNOWN = 1000.0


@dataclass(frozen=True)
class Tuner:
    """Searches on a `bench`, and keeps every trial in `store` as soon as it is over; `watch` is told after each batch.

    A kernel's fastest choices are confirmed, in ROUNDS processes and beside PyTorch, when its trials are used up, or
    the time is.
    """

    bench: Bench
    store: Store
    circumstances: Circumstances
    watch: Callable[[Sequence[Search]], None]
    searches: list[Search] = field(default_factory=list)

    def tune(self, tasks: Sequence[Task], effort: Effort) -> list[Search]:
        """Search for faster kernels for `tasks`, beginning with what the store has of them where that is to count."""
        self.searches[:] = map(self._begun if effort.resume else Search, tasks)
        start, rng = time.monotonic(), random.Random(self.bench.seed)

        def is_over(part: float) -> bool:
            return effort.seconds is not None and time.monotonic() - start > part * effort.seconds

        self.watch(self.searches)
        while not is_over(_SEARCHING) and (chosen := self._next_choices(effort.trials, rng)):
            self._try(chosen, rounds=1)
            self._confirm([search for search, _ in chosen if _is_done(search, effort)])
        hopeful = sorted(self.searches, key=lambda search: search.hope, reverse=True)
        few = self.bench.width
        for place in range(0, len(hopeful), few):
            if not is_over(1):
                self._confirm(hopeful[place : place + few])
        return self.searches

    def _begun(self, task: Task) -> Search:
        search = Search(task)
        for trial in self.store.trials(task.workload, self.circumstances):
            # A record from elsewhere may be of another space.
            if with_choice(task.kernel, trial.choice, self.bench.target) is not None:
                search.take(trial)
        return search

    def give_up(self, search: Search, planned: float, microseconds: float) -> None:
        """Keep that the best choice of `search` takes longer than the planned kernel in a model."""
        assert search.best is not None
        slower = replace(
            search.best,
            microseconds=microseconds,
            default_microseconds=planned,
            rounds=max(MODEL_ROUNDS, search.best.rounds),
        )
        self._keep(search, [slower])

    def _next_choices(self, most: int, rng: random.Random) -> list[tuple[Search, tuple[Choice, ...]]]:
        """What to try next, for as many kernels as are tried at once; nothing where all is tried."""
        chosen: list[tuple[Search, tuple[Choice, ...]]] = []
        for search in sorted(self.searches, key=lambda search: search.weight, reverse=True):
            count = min(_BATCH, most - len(search.trials))
            if len(chosen) == self.bench.width:
                break
            if search.exhausted or count <= 0:
                continue
            known = [(trial.choice, trial.ratio) for trial in search.trials.values()]
            choices = next_choices(search.task.kernel, self.bench.target, known, count, rng)
            search.exhausted = not choices
            if choices:
                chosen.append((search, tuple(choices)))
        return chosen

    def _confirm(self, searches: Sequence[Search]) -> None:
        finalists = [(search, search.finalists()) for search in searches]
        self._try([(search, choices) for search, choices in finalists if choices], ROUNDS)

    def _try(self, chosen: Sequence[tuple[Search, tuple[Choice, ...]]], rounds: int) -> None:
        batches = [
            Batch(search.task.call, choices, _UNKNOWN if math.isinf(search.planned) else search.planned)
            for search, choices in chosen
        ]
        results = self.bench.try_each(batches, rounds, checked=rounds >= ROUNDS)
        for (search, choices), outcomes in zip(chosen, results, strict=True):
            if isinstance(outcomes, Refusal):
                search.fault, search.exhausted = outcomes.reason, True
                continue
            trials = [
                trial_of(search.task.workload, dict(choice), outcome, rounds)
                for choice, outcome in zip(choices, outcomes, strict=True)
            ]
            self._keep(search, trials)
        self.watch(self.searches)

    def _keep(self, search: Search, trials: Sequence[Trial]) -> None:
        self.store.add(search.task.description, self.circumstances, trials)
        for trial in trials:
            old = search.trials.get(canonical_json(trial.choice))
            if old is None or replaces(trial, old):
                search.take(trial)


def _is_done(search: Search, effort: Effort) -> bool:
    return search.exhausted or len(search.trials) >= effort.trials
