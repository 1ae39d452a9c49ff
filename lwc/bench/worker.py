"""The process of one engine: it prepares a model, and then measures whenever it is told to."""

import os
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from lwc.bench.engines import Engine
from lwc.bench.task import Array, Task
from lwc.bench.timing import measure
from lwc.errors import LwcError
from lwc.files import one_line

LOG = "{}.log"


@dataclass(frozen=True)
class Ready:
    """The engine's version, and the outputs of its first run."""

    version: str
    outputs: list[Array]


@dataclass(frozen=True)
class Failed:
    """Why the engine cannot run the model, in one line."""

    reason: str


def serve(connection: Connection, name: str, engine: Engine, task: Task) -> None:
    """Send Ready or Failed; then, for each number received, that many runs' milliseconds, until the other end closes.

    What the engine prints goes to a log in the task's folder.
    """
    _print_to(task.folder / LOG.format(name))
    try:
        run = engine.prepare(task)
        connection.send(Ready(engine.version(), [array.copy() for array in run()]))
        while True:
            connection.send(measure(run, connection.recv()))
    except EOFError:
        return
    except Exception as error:
        traceback.print_exc()
        own = isinstance(error, LwcError)
        connection.send(Failed(one_line(error) if own else f"{type(error).__name__}: {one_line(error)}"))


def _print_to(path: Path) -> None:
    # The engines' C++ prints too.
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
