"""`lwc tune bundle`: from a model to an archive of trials for its kernels, for a device that no network reaches."""

import random
import tarfile
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lwc.compile_request import CompileRequest
from lwc.errors import UnsupportedError
from lwc.prepare import load, prepare
from lwc.reporter import Clock, Reporter
from lwc.targets.kernels.search_space import Choice
from lwc.tune import bench as tried
from lwc.tune import bundle
from lwc.tune.bench import Batch, Bench
from lwc.tune.bundle import Bundle, Program
from lwc.tune.circumstances import ROUNDS, circumstances_of
from lwc.tune.devices import Devices
from lwc.tune.search import next_choices
from lwc.tune.store import Store
from lwc.tune.tasks import Task, tasks_of
from lwc.tune.trials import Refusal
from lwc.tune.workers import Workers, worker_count

# A program that fails on the device takes its choices with it.
_CHOICES = 3


@dataclass(frozen=True)
class Bundled:
    """What is in an archive: programs, and the choices in them; and why others could not be built."""

    programs: int
    choices: int
    failures: tuple[str, ...]


@dataclass
class _Archive:
    """An archive that is being written."""

    file: tarfile.TarFile
    programs: list[Program] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, task: Task, choices: Sequence[Choice], program: tried.Program, bench: Bench) -> None:
        self.lines.append(bundle.add_program(self.file, bench.job(program), f"{len(self.programs):04d}"))
        built = program.built
        self.programs.append(
            Program(
                description=task.description,
                choices=tuple(map(dict, choices)),
                runs=len(program.runs),
                copies=built.copies,
                samples=built.samples,
                limits=built.limits,
            )
        )


def bundle_trials(
    request: CompileRequest, trials: int, store: Store | None, file: IO[bytes], reporter: Reporter
) -> Bundled:
    """Write an archive with `trials` further choices of each kernel of a model, to be run in ROUNDS, to `file`.

    `store` says what is known already, of any processor. Raises what `compile_package` raises, UnsupportedError where
    nothing is left to try.
    """
    clock = Clock(reporter)
    loaded = load(request, clock)
    prepared = prepare(loaded, clock)
    target = loaded.target
    circumstances = circumstances_of(target, request.threads)
    rng = random.Random(request.model.seed)
    todo: deque[tuple[Task, tuple[Choice, ...]]] = deque()
    for task in tasks_of(prepared.program, target):
        known = [] if store is None else store.trials(task.workload, circumstances, any_processor=True)
        tried = [(trial.choice, trial.ratio) for trial in known]
        choices = next_choices(task.kernel, target, tried, trials, rng)
        todo.extend((task, tuple(choices[place : place + _CHOICES])) for place in range(0, trials, _CHOICES))
    todo = deque((task, choices) for task, choices in todo if choices)
    if not todo:
        raise UnsupportedError(f"{loaded.model.name}: all that its kernels leave open was tried; compile it")
    with (
        clock.stage("bundle"),
        tempfile.TemporaryDirectory(prefix="lwc-bundle-") as folder,
        Workers(worker_count()) as workers,
        tarfile.open(fileobj=file, mode="w") as opened,
    ):
        archive = _Archive(opened)
        devices = Devices([], reporter.warn)
        bench = Bench(
            target,
            loaded.toolchain,
            circumstances.threads,
            workers,
            devices,
            Path(folder),
            request.model.seed,
        )
        failures = _build_all(todo, bench, archive, reporter)
        described = Bundle(
            schema_version=bundle.SCHEMA_VERSION,
            machine=circumstances.machine,
            threads=circumstances.threads,
            versions=circumstances.versions,
            rounds=ROUNDS,
            seconds=bench.seconds,
            programs=tuple(archive.programs),
        )
        bundle.add_frame(opened, described, archive.lines, bench.runner)
    bundled = sum(len(program.choices) for program in archive.programs)
    return Bundled(len(archive.programs), bundled, tuple(failures))


def _build_all(
    todo: deque[tuple[Task, tuple[Choice, ...]]], bench: Bench, archive: _Archive, reporter: Reporter
) -> list[str]:
    """Adds a program for each entry of `todo`; why single choices cannot be built."""
    total, failures = len(todo), []
    while todo:
        turn = [todo.popleft() for _ in range(min(len(todo), len(bench.workers)))]
        batches = [Batch(task.call, choices) for task, choices in turn]
        with bench.programs(batches, ROUNDS, checked=True) as programs:
            for (task, choices), program in zip(turn, programs, strict=True):
                if not isinstance(program, Refusal):
                    archive.add(task, choices, program, bench)
                elif len(choices) > 1:
                    todo.extend((task, (choice,)) for choice in choices)
                else:
                    failures.append(program.reason)
        reporter.note(f"{len(archive.programs)} of about {total} programs")
    return failures
