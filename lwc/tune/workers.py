"""The processes that build trials, one a core: a candidate's crash, hang or hunger for memory is its own.

A process says first that it is ready: what keeps it from that is not a candidate's fault.
"""

import os
import pickle
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from lwc.tune.process import Process, begin_process
from lwc.tune.trials import REQUEST, Built, Refusal, Trials

# -P: a file of the current folder is no module.
WORKER = (sys.executable, "-P", "-m", "lwc.tune.worker")
BUILD_SECONDS = 120.0
_LEAST_MEMORY = 4 << 30


def worker_count() -> int:
    """One process a core that this one may use, but no more than half of the memory is enough for."""
    return max(1, min(len(os.sched_getaffinity(0)), _memory() // 2 // _LEAST_MEMORY))


def memory_limit(processes: int, memory: int | None = None) -> int:
    """The bytes that each of `processes` may take: together half of `memory`, by default of what the machine has."""
    return max(_LEAST_MEMORY, (memory or _memory()) // 2 // processes)


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Builders(Protocol):
    """Who builds trials, side by side."""

    def __len__(self) -> int:
        """How many are built at once."""

    def build(self, requests: Sequence[tuple[Trials, Path]]) -> list[Built | Refusal]:
        """What comes of each of `requests`, at most as many as are built at once, each with an empty folder.

        Raises ResourceError where nothing can be built.
        """


class Workers:
    """Builds trials side by side; a process that dies or takes too long is replaced at its next use.

    `command` starts a process; its last two arguments are a descriptor and its limit of memory, `memory` bytes.
    """

    def __init__(
        self,
        count: int,
        command: Sequence[str] = WORKER,
        seconds: float = BUILD_SECONDS,
        memory: int | None = None,
    ) -> None:
        self._processes: list[Process | None] = [None] * count
        self._command, self._seconds = tuple(command), seconds
        self._memory = memory or memory_limit(count)

    def __len__(self) -> int:
        return len(self._processes)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes; they begin again at their next use."""
        for place in range(len(self._processes)):
            self._end(place)

    def build(self, requests: Sequence[tuple[Trials, Path]]) -> list[Built | Refusal]:
        """What comes of each of `requests`, at most as many as there are processes, each with an empty folder.

        Raises ResourceError where a process cannot begin.
        """
        self._start(len(requests))
        deadline = time.monotonic() + self._seconds
        for place, (trials, folder) in enumerate(requests):
            # In a file, since a pipe that is full would have to wait for its reader.
            (folder / REQUEST).write_bytes(pickle.dumps(trials))
            with suppress(BrokenPipeError):
                self._at(place).connection.send(str(folder))
        return [self._answer(place, deadline) for place in range(len(requests))]

    def _at(self, place: int) -> Process:
        found = self._processes[place]
        assert found is not None
        return found

    def _start(self, count: int) -> None:
        """The first `count` processes, where they do not run; side by side, since each takes seconds."""
        started = []
        for place in range(count):
            known = self._processes[place]
            if known is None or not known.runs:
                self._end(place)
                begun = begin_process(self._command, self._memory, "builds kernels")
                self._processes[place] = begun
                started.append(begun)
        for process in started:
            process.await_ready()

    def _answer(self, place: int, deadline: float) -> Built | Refusal:
        worker = self._at(place)
        try:
            if worker.connection.poll(max(0.0, deadline - time.monotonic())):
                answer: Built | Refusal = worker.connection.recv()
                return answer
            reason = f"was not built within {self._seconds:.0f} s"
        except (EOFError, OSError):
            reason = f"ended the process that built it, {worker.how_it_ended()}"
        self._end(place)
        return Refusal(reason)

    def _end(self, place: int) -> None:
        worker, self._processes[place] = self._processes[place], None
        if worker is not None:
            worker.end()
