"""Trials on this machine: built side by side, one a core, then run one after another, so that none disturbs another."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lwc.package.toolchain import Toolchain
from lwc.targets.kernels.search_space import Choice
from lwc.targets.target import Target
from lwc.tune.alone import LayerCall
from lwc.tune.build import prepare_runtime
from lwc.tune.measure import RUN_SECONDS, check_copies, time_copies
from lwc.tune.trials import Built, Refusal, Trials
from lwc.tune.workers import Builders

# Microseconds that the runs of a program take together, about.
_ENOUGH = 150_000.0
_FEWEST, _MOST = 10, 300


@dataclass(frozen=True)
class Batch:
    """Choices to try for one layer; `planned` microseconds of the kernel that is planned, as far as that is known."""

    call: LayerCall
    choices: tuple[Choice, ...]
    planned: float = 1000.0


@dataclass(frozen=True)
class Measured:
    """The median times of a choice and of the planned kernel in the same runs, in microseconds."""

    microseconds: float
    planned: float


@dataclass(frozen=True)
class Wrong:
    """How a choice's results differ from PyTorch's."""

    reason: str


Outcome = Measured | Wrong | Refusal


@dataclass(frozen=True)
class Bench:
    """Where trials are built and run: `folder` takes their files, `threads` run the kernels; inputs are of `seed`.

    A program that does not end within `seconds` is refused.
    """

    target: Target
    toolchain: Toolchain
    threads: int
    workers: Builders
    folder: Path
    seed: int
    seconds: float = RUN_SECONDS

    def try_each(
        self, batches: Sequence[Batch], rounds: int = 1, checked: bool = False
    ) -> list[list[Outcome] | Refusal]:
        """The outcome of every choice of `batches`, of which there are at most as many as workers.

        Times are medians over `rounds` processes; `checked`: results are held against PyTorch's first. A Refusal in
        place of a batch's outcomes says that the planned kernel itself cannot be tried.
        Raises ResourceError where nothing can be built here.
        """
        return [
            self._apart(batch, rounds, checked) if isinstance(found, Refusal) else found
            for batch, found in zip(batches, self._try(batches, rounds, checked), strict=True)
        ]

    def _apart(self, batch: Batch, rounds: int, checked: bool) -> list[Outcome] | Refusal:
        """The planned kernel by itself, then one choice at a time, to find what was refused."""
        (planned,) = self._try([replace(batch, choices=())], 1, checked)
        if isinstance(planned, Refusal):
            return planned
        outcomes: list[Outcome] = []
        for choice in batch.choices:
            (found,) = self._try([replace(batch, choices=(choice,))], rounds, checked)
            outcomes += [found] if isinstance(found, Refusal) else found
        return outcomes

    def _try(self, batches: Sequence[Batch], rounds: int, checked: bool) -> list[list[Outcome] | Refusal]:
        runtime = prepare_runtime(self.toolchain, self.folder / "runtime")
        folders = [Path(tempfile.mkdtemp(dir=self.folder)) for _ in batches]
        try:
            trials = [
                Trials(batch.call, self.target, self.toolchain, batch.choices, self.seed, runtime, checked)
                for batch in batches
            ]
            answers = self.workers.build(list(zip(trials, folders, strict=True)))
            return [
                answer if isinstance(answer, Refusal) else self._times(batch, answer, rounds)
                for batch, answer in zip(batches, answers, strict=True)
            ]
        finally:
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)

    def _times(self, batch: Batch, built: Built, rounds: int) -> list[Outcome] | Refusal:
        wrong = check_copies(built, self.threads, self.seconds)
        if isinstance(wrong, Refusal):
            return wrong
        if wrong[0]:
            return Refusal(f"the planned kernel is wrong: {wrong[0]}")
        repeat = _ENOUGH / (batch.planned * len(wrong))
        runs = []
        for _ in range(rounds):
            times = time_copies(built, self.threads, int(min(max(repeat, _FEWEST), _MOST)), self.seconds)
            if isinstance(times, Refusal):
                return times
            runs.append(times)
        planned, *others = map(float, np.median(runs, axis=0))
        return [
            Wrong(text) if text else Measured(time, planned)
            for text, time in zip(wrong[1:], others, strict=True)
        ]
