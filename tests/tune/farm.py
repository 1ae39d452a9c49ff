"""A tracker of Apache TVM's RPC and its servers, the stock ones, on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lwc.tune.device import DeviceError
from lwc.tune.rpc_tracker import Tracker

_START_SECONDS = 60.0
Server = subprocess.Popen[bytes]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def send(server: Server, number: signal.Signals) -> None:
    """A signal to all processes of a server, which are of its group."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, number)


@contextmanager
def tracker_here() -> Iterator[Tracker]:
    """A tracker that answers."""
    tracker = Tracker("127.0.0.1", free_port())
    with _started("tvm.exec.rpc_tracker", tracker.port):
        await_servers(tracker, "none", 0)
        yield tracker


@contextmanager
def two_servers(tracker: Tracker, key: str) -> Iterator[list[Server]]:
    """Two that are registered for `key`."""
    words = ("--tracker", tracker.address, "--key", key)
    with (
        _started("tvm.exec.rpc_server", free_port(), *words) as first,
        _started("tvm.exec.rpc_server", free_port(), *words) as second,
    ):
        await_servers(tracker, key, 2)
        yield [first, second]


@contextmanager
def _started(module: str, port: int, *words: str) -> Iterator[Server]:
    place = ("--host", "127.0.0.1", "--port", str(port), "--port-end", str(port + 1))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, *place, "--silent", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        send(process, signal.SIGKILL)
        process.wait()


def await_servers(tracker: Tracker, key: str, count: int) -> None:
    """Wait until so many are registered for `key`."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(DeviceError):
            if tracker.count(key) == count:
                return
        time.sleep(0.2)
    raise AssertionError(f"{tracker}: has no {count} servers within {_START_SECONDS:.0f} s")
