"""`lwc tune bundle`: from a model to an archive of trials for its kernels, for a device that no network reaches."""

import random
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lwc.compile_request import CompileRequest
from lwc.errors import UnsupportedError
from lwc.prepare import load, prepare
from lwc.reporter import Clock, Reporter
from lwc.targets.kernels.search_space import Choice
from lwc.targets.target import Target
from lwc.tune import bundle
from lwc.tune.bench import Batch, Bench, Program
from lwc.tune.bundle import Bundle, Entry
from lwc.tune.circumstances import ROUNDS, circumstances_of
from lwc.tune.devices import Devices
from lwc.tune.records import Trial
from lwc.tune.search import next_choices
from lwc.tune.store import Store
from lwc.tune.tasks import Task, tasks_of
from lwc.tune.trials import Refusal
from lwc.tune.workers import Workers, worker_count

# A program that fails on the device takes its choices with it.
_CHOICES = 3

# A kernel, and choices for it that share a program.
Part = tuple[Task, tuple[Choice, ...]]


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
    entries: list[Entry] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, task: Task, choices: Sequence[Choice], program: Program, bench: Bench) -> None:
        self.lines.append(bundle.add_program(self.file, bench.job(program), f"{len(self.entries):04d}"))
        built = program.built
        self.entries.append(
            Entry(
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

    def known(task: Task) -> list[Trial]:
        return [] if store is None else store.trials(task.workload, circumstances, any_processor=True)

    todo = _todo(tasks_of(prepared.program, target), trials, target, request.model.seed, known)
    if not todo:
        raise UnsupportedError(f"{loaded.model.name}: all that its kernels leave open was tried; compile it")
    with (
        clock.stage("bundle"),
        tempfile.TemporaryDirectory(prefix="lwc-bundle-") as folder,
        Workers(worker_count()) as workers,
        tarfile.open(fileobj=file, mode="w") as opened,
    ):
        archive, threads = _Archive(opened), circumstances.threads
        nowhere, seed = Devices([], reporter.warn), request.model.seed
        bench = Bench(target, loaded.toolchain, threads, workers, nowhere, Path(folder), seed)
        failures = _build_all(todo, bench, archive, reporter)
        described = Bundle(
            schema_version=bundle.SCHEMA_VERSION,
            machine=circumstances.machine,
            threads=threads,
            versions=circumstances.versions,
            rounds=ROUNDS,
            seconds=bench.seconds,
            programs=tuple(archive.entries),
        )
        bundle.add_frame(opened, described, archive.lines, bench.runner)
    bundled = sum(len(entry.choices) for entry in archive.entries)
    return Bundled(len(archive.entries), bundled, tuple(failures))


def _todo(
    tasks: Sequence[Task], trials: int, target: Target, seed: int, known: Callable[[Task], Sequence[Trial]]
) -> deque[Part]:
    """Up to `trials` choices of each of `tasks` that are not `known`, a few at a time."""
    rng = random.Random(seed)
    todo: deque[Part] = deque()
    for task in tasks:
        tried = [(trial.choice, trial.ratio) for trial in known(task)]
        choices = next_choices(task.kernel, target, tried, trials, rng)
        parts = [choices[place : place + _CHOICES] for place in range(0, len(choices), _CHOICES)]
        todo.extend((task, tuple(part)) for part in parts)
    return todo


def _build_all(todo: deque[Part], bench: Bench, archive: _Archive, reporter: Reporter) -> list[str]:
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
        reporter.note(f"{len(archive.entries)} of about {total} programs")
    return failures
