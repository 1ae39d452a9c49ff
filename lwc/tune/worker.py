"""A process that builds trials for a tuner: `python -m lwc.tune.worker SOCKET MEMORY`, SOCKET an inherited descriptor.

It says that it is ready; then it answers each request, the folder of one, with what it built there, or with why not;
and it ends with the tuner.
"""

import contextlib
import ctypes
import pickle
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from lwc.files import one_line
from lwc.tune.build import build_trials
from lwc.tune.limits import lower_limit
from lwc.tune.trials import REQUEST, Built, Refusal

_PR_SET_PDEATHSIG = 1


def main(socket: int, memory: int) -> None:
    """Answer requests until the tuner closes its end."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    lower_limit(0, resource.RLIMIT_DATA, memory)
    with Connection(socket) as connection, contextlib.suppress(EOFError, BrokenPipeError):
        connection.send("ready")
        while True:
            connection.send(_answer(Path(connection.recv())))


def _answer(folder: Path) -> Built | Refusal:
    try:
        # The tuner's own, which wrote it a moment ago.
        return build_trials(pickle.loads((folder / REQUEST).read_bytes()), folder)
    # Whatever a kernel's template, TVM or LLVM makes of a candidate is that candidate's fault.
    except Exception as error:
        return Refusal(one_line(error))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
