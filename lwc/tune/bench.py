"""Trials: built side by side, one a core, then run, one after another on each device, so that none disturbs another."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lwc.package.toolchain import Toolchain
from lwc.targets.kernels.search_space import Choice
from lwc.targets.target import Target
from lwc.tune.alone import LayerCall
from lwc.tune.build import prepare_runtime
from lwc.tune.devices import Devices
from lwc.tune.job import RUNNER, Job, Report, Run
from lwc.tune.measure import RUN_SECONDS, Asked, Outcome, outcomes_of, runs_of
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
class Program:
    """What was built of a batch, and how it is to be run."""

    built: Built
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Bench:
    """Where trials are built and run: `folder` takes their files, `threads` run the kernels; inputs are of `seed`.

    `devices` run what `workers` build. A program that does not end within `seconds` is refused.
    """

    target: Target
    toolchain: Toolchain
    threads: int
    workers: Builders
    devices: Devices
    folder: Path
    seed: int
    seconds: float = RUN_SECONDS

    def try_each(
        self, batches: Sequence[Batch], rounds: int = 1, checked: bool = False
    ) -> list[list[Outcome] | Refusal]:
        """The outcome of every choice of `batches`.

        Times are medians over `rounds` processes; `checked`: results are held against PyTorch's first. A Refusal in
        place of a batch's outcomes says that the planned kernel itself cannot be tried.
        Raises ResourceError where nothing can be built here, DeviceError where no device is left.
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
        with self.programs(batches, rounds, checked) as programs:
            jobs = [self.job(program) for program in programs if isinstance(program, Program)]
            reports = iter(self.devices.run(jobs, self.runner))
            return [
                self._outcomes(program, next(reports)) if isinstance(program, Program) else program
                for program in programs
            ]

    @property
    def width(self) -> int:
        """How many programs are tried at once: as many as are built, or run, side by side."""
        return max(len(self.workers), len(self.devices))

    @property
    def runner(self) -> Path:
        """The program that runs jobs on the target. Raises ResourceError where it cannot be compiled."""
        return prepare_runtime(self.toolchain, self.folder / "runtime") / RUNNER

    @contextmanager
    def programs(
        self, batches: Sequence[Batch], rounds: int, checked: bool
    ) -> Iterator[list[Program | Refusal]]:
        """A program for each of `batches`, to be run in `rounds`; gone with the block."""
        runtime = self.runner.parent
        folders = [Path(tempfile.mkdtemp(dir=self.folder)) for _ in batches]
        try:
            trials = [
                Trials(batch.call, self.target, self.toolchain, batch.choices, self.seed, runtime, checked)
                for batch in batches
            ]
            requests, few = list(zip(trials, folders, strict=True)), len(self.workers)
            turns = [requests[place : place + few] for place in range(0, len(requests), few)]
            answers = [answer for turn in turns for answer in self.workers.build(turn)]
            yield [
                Program(built, self._runs(batch, built, rounds)) if isinstance(built, Built) else built
                for batch, built in zip(batches, answers, strict=True)
            ]
        finally:
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)

    def job(self, program: Program) -> Job:
        """What a device has to do for `program`."""
        return Job(program.runs, self.threads, self.seconds)

    def _runs(self, batch: Batch, built: Built, rounds: int) -> tuple[Run, ...]:
        repeat = _ENOUGH / (batch.planned * (1 + len(batch.choices)))
        return runs_of(built, self.threads, int(min(max(repeat, _FEWEST), _MOST)), rounds)

    def _outcomes(self, program: Program, report: Report | Refusal) -> list[Outcome] | Refusal:
        if isinstance(report, Refusal):
            return report
        built = program.built
        asked = Asked(built.copies, built.samples, built.limits, self.seconds)
        return outcomes_of(asked, report.runs, report.condition)
