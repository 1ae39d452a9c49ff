"""A process that runs jobs on servers of TVM's RPC: `python -m lwc.tune.rpc_client SOCKET MEMORY`, as a worker's.

TVM's client waits without end for a server that hangs: this process can be killed. It ends with the tuner.
"""

import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

from lwc.files import one_line
from lwc.tune.limits import lower_limit

# What lwc_rpc.c becomes, its function, and the files that it reads and writes.
RPC_LIBRARY = "lwc-rpc.so"
_FUNCTION, _JOB, _REPORT, _COMPLAINT = "lwc_trials", "job.tar", "report", "complaint"
# An answer is one of these and the report, or the reason why there is none.
DONE, FAILED = b"+", b"-"


@dataclass(frozen=True)
class LentServer:
    """A server that serves nobody else until a client that says `match_key` leaves it."""

    host: str
    port: int
    match_key: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Request:
    """Run what is in the file `job` on a server, which ends it after `seconds`; no more than `most_bytes` come back."""

    server: LentServer
    seconds: float
    job: Path
    library: Path
    most_bytes: int


def main(socket: int, memory: int) -> None:
    """Answer requests until the tuner closes its end."""
    from tvm import rpc

    lower_limit(0, resource.RLIMIT_DATA, memory)
    with Connection(socket) as connection, suppress(EOFError):
        connection.send("ready")
        while True:
            # In another thread, so that this one sees the tuner end meanwhile.
            Thread(target=_answer, args=(connection, rpc, connection.recv()), daemon=True).start()


def _answer(connection: Connection, rpc: Any, request: Request) -> None:
    try:
        answer = DONE + _report(rpc, request)
    # Whatever TVM makes of what the server does is the server's fault.
    except Exception as error:
        answer = FAILED + one_line(error).encode()
    with suppress(BrokenPipeError):
        # Bytes, not a pickle: what talks to a server is not trusted with the tuner.
        connection.send_bytes(answer)


def _report(rpc: Any, request: Request) -> bytes:
    server = request.server
    session = rpc.connect(server.host, server.port, server.match_key, session_timeout=request.seconds)
    session.upload(str(request.job), _JOB)
    session.upload(str(request.library), RPC_LIBRARY)
    code = int(session.load_module(RPC_LIBRARY)[_FUNCTION]())
    text = bytes(session.download(_REPORT if code == 0 else _COMPLAINT))
    for name in (_JOB, RPC_LIBRARY, _REPORT, _COMPLAINT):
        session.remove(name)
    if len(text) > request.most_bytes:
        raise ValueError(f"its answer has more than {request.most_bytes} bytes")
    if code != 0:
        lines = text.decode(errors="replace").splitlines()
        raise RuntimeError(lines[-1] if lines else f"exit code {code}")
    return text


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
