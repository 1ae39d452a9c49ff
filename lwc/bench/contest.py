"""Engines in turn: each in a process of its own, rounds interleaved so that drift of the machine hits all alike."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from lwc.bench.engines import Engine
from lwc.bench.task import Array, Task
from lwc.bench.worker import Failed, Ready, serve

# Compiling a large model can take minutes; a run that takes this long is stuck.
PREPARE_SECONDS, MEASURE_SECONDS = 900, 300


@dataclass
class Entrant:
    """An engine that takes part: its process, and what it gave so far.

    rounds: milliseconds of each run of each round; failure: why it takes no further part.
    """

    name: str
    process: BaseProcess
    connection: Connection
    version: str = ""
    outputs: list[Array] = field(default_factory=list)
    rounds: list[list[float]] = field(default_factory=list)
    failure: str | None = None

    def answer(self, seconds: float, question: int | None = None) -> object:
        """What the process sends next, to `question`; None, with `failure` set, where it fails or sends nothing."""
        try:
            if question is not None:
                self.connection.send(question)
            if not self.connection.poll(seconds):
                self.failure = f"gave no answer in {seconds:g} s"
                return None
            message: object = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(5)
            self.failure = f"its process ended with exit code {self.process.exitcode}"
            return None
        if isinstance(message, Failed):
            self.failure = message.reason
            return None
        return message

    def prepare(self) -> None:
        """Wait until it can run the model."""
        message = self.answer(PREPARE_SECONDS)
        if isinstance(message, Ready):
            self.version, self.outputs = message.version, message.outputs

    def measure(self, repeat: int) -> None:
        """One round of `repeat` runs."""
        times = self.answer(MEASURE_SECONDS, repeat)
        if isinstance(times, list):
            self.rounds.append(times)


def hold(
    task: Task, engines: Mapping[str, Engine], rounds: int, repeat: int, progress: Callable[[str], None]
) -> list[Entrant]:
    """Prepare `engines`, by name, one after another, then `rounds` times let each run `repeat` times.

    One that fails, crashes or hangs stays in the result with its `failure`; the others go on.
    """
    entrants: list[Entrant] = []
    with _ended(entrants):
        for name, engine in engines.items():
            progress(f"preparing {name}")
            entrants.append(_start(task, name, engine))
            entrants[-1].prepare()
        for number in range(1, rounds + 1):
            progress(f"round {number} of {rounds}")
            for entrant in entrants:
                if entrant.failure is None:
                    entrant.measure(repeat)
    return entrants


def _start(task: Task, name: str, engine: Engine) -> Entrant:
    # A fork would inherit this process's threads and memory.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, name, engine, task), daemon=True)
    process.start()
    theirs.close()
    return Entrant(name, process, ours)


@contextmanager
def _ended(entrants: list[Entrant]) -> Iterator[None]:
    try:
        yield
    finally:
        for entrant in entrants:
            entrant.connection.close()
            entrant.process.kill()
            entrant.process.join()
