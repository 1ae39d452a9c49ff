"""Processes beside the tuner: each says that it is ready, then answers over a socket, and can be ended at any time."""

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from lwc.errors import ResourceError

# Each imports PyTorch or TVM, and all at once.
_START_SECONDS = 600.0


@dataclass(frozen=True)
class Process:
    """A process that does `task`, and our end of its socket; `command` shows what keeps it from that.

    `deadline`: when it has to be ready, by the monotonic clock.
    """

    process: subprocess.Popen[bytes]
    connection: Connection
    task: str
    command: str
    deadline: float

    @property
    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def await_ready(self) -> None:
        """Wait until it says that it is. Raises ResourceError where it does not."""
        with suppress(EOFError, OSError):
            if self.connection.poll(max(0.0, self.deadline - time.monotonic())):
                self.connection.recv()
                return
            raise ResourceError(
                f"a process that {self.task} did not begin within {_START_SECONDS:.0f} s; is the machine busy?"
            )
        raise ResourceError(
            f"a process that {self.task} ended before it began, {self.how_it_ended()};"
            f" see what `{self.command}` says"
        )

    def how_it_ended(self) -> str:
        """By which signal, or with which code."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        code = self.process.returncode
        return f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"

    def end(self) -> None:
        """Kill it; its children, a compiler, are of its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()


def begin_process(command: Sequence[str], memory: int, task: str) -> Process:
    """Start `command`, which gets a descriptor and a limit of memory in bytes as its last two arguments."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*command, str(theirs.fileno()), str(memory)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A key press that interrupts the tuner is not theirs.
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    shown = f"{shlex.join(command)} 0 {memory}"
    return Process(process, Connection(ours.detach()), task, shown, time.monotonic() + _START_SECONDS)
