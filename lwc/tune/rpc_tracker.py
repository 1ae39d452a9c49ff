"""What a tuner asks a tracker of Apache TVM's RPC: which servers it knows, and for one of them.

TVM's own client waits without end, and tries for a minute to reach a tracker that is not there.
"""

import json
import socket
import struct
import time
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter

from lwc.files import one_line
from lwc.tune.device import DeviceError
from lwc.tune.rpc_client import LentServer

_MAGIC = 0x2F271
_REQUEST, _SUMMARY = 4, 6
_REACH_SECONDS = 10.0
_MAX_ANSWER = 1 << 20
_NUMBER = struct.Struct("<i")
_SUCCESS = 0
_Answer = TypeVar("_Answer")
_Word = Annotated[str, Field(pattern=r"^\S+$")]


class _Known(BaseModel):
    key: str


class _Summary(BaseModel):
    server_info: list[_Known]


@dataclass(frozen=True)
class Tracker:
    """The tracker at an address."""

    host: str
    port: int

    def count(self, key: str) -> int:
        """How many servers are registered for `key`. Raises DeviceError where the tracker does not say."""
        summary = self._asked([_SUMMARY], TypeAdapter(_Summary), _REACH_SECONDS)
        return sum(server.key == f"server:{key}" for server in summary.server_info)

    def request(self, key: str, seconds: float) -> LentServer:
        """The first server for `key` that is free. Raises DeviceError where none is within `seconds`."""
        expected = TypeAdapter(tuple[_Word, int, _Word])
        late = f"no server with the key {key!r} was free"
        return LentServer(*self._asked([_REQUEST, key, "", 1], expected, seconds, late))

    def _asked(
        self,
        question: list[Any],
        expected: TypeAdapter[_Answer],
        seconds: float,
        late: str = "gave no answer",
    ) -> _Answer:
        try:
            with socket.create_connection((self.host, self.port), _REACH_SECONDS) as connection:
                success, answer = _converse(connection, question, seconds)
            if success != _SUCCESS:
                raise ValueError
            return expected.validate_python(answer)
        except TimeoutError:
            raise DeviceError(f"{self}: {late} within {seconds:.0f} s") from None
        except (ValueError, TypeError, RecursionError):
            raise DeviceError(
                f"{self}: does not answer as a tracker of TVM's RPC does; check the address"
            ) from None
        except OSError as error:
            raise DeviceError(
                f"{self}: cannot be reached ({error.strerror or one_line(error)}); start"
                " `python -m tvm.exec.rpc_tracker` there"
            ) from None

    def __str__(self) -> str:
        return f"tracker {self.address}"

    @property
    def address(self) -> str:
        """As one writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _converse(connection: socket.socket, question: list[Any], seconds: float) -> Any:
    deadline = time.monotonic() + min(seconds, _REACH_SECONDS)
    connection.sendall(_NUMBER.pack(_MAGIC))
    if _number(connection, deadline) != _MAGIC:
        raise ValueError
    text = json.dumps(question).encode()
    connection.sendall(_NUMBER.pack(len(text)) + text)
    deadline = time.monotonic() + seconds
    size = _number(connection, deadline)
    if not 0 < size <= _MAX_ANSWER:
        raise ValueError
    return json.loads(_received(connection, size, deadline))


def _number(connection: socket.socket, deadline: float) -> int:
    (number,) = _NUMBER.unpack(_received(connection, _NUMBER.size, deadline))
    return int(number)


def _received(connection: socket.socket, size: int, deadline: float) -> bytes:
    text = b""
    while len(text) < size:
        # No time at all would mean: do not wait.
        connection.settimeout(max(1e-3, deadline - time.monotonic()))
        part = connection.recv(size - len(text))
        if not part:
            raise ConnectionError("it closed the connection")
        text += part
    return text
