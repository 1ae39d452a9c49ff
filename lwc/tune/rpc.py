"""Devices behind a tracker of Apache TVM's RPC, which lends one of its servers for each job."""

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

from lwc.errors import ResourceError, UsageError
from lwc.files import one_line, shortened
from lwc.tune.device import MAX_REPORT, Device, DeviceError, checked, transfer_seconds
from lwc.tune.job import Job, Report
from lwc.tune.process import Process, begin_process
from lwc.tune.rpc_client import DONE, RPC_LIBRARY, LentServer, Request
from lwc.tune.rpc_tracker import Tracker
from lwc.tune.workers import memory_limit

_CLIENT = (sys.executable, "-P", "-m", "lwc.tune.rpc_client")
_ADDRESS = re.compile(r"rpc://(?:\[([0-9a-fA-F:]+)\]|([^\s/:\[\]]+)):(\d{1,5})/(\S+)")
# Until others' jobs on the same servers are over.
_WAIT_SECONDS = 600.0


@dataclass(frozen=True)
class Farm:
    """The servers with a `key` at a tracker; a job may take `most_seconds` on one, or less, where it needs less."""

    url: str
    tracker: Tracker
    key: str
    most_seconds: float = inf


@contextmanager
def rpc_devices(url: str, most_seconds: float = inf) -> Iterator[list[Device]]:
    """A device for each server that is registered at the tracker and for the key of `rpc://HOST:PORT/KEY`.

    Raises UsageError where `url` is none, DeviceError where the tracker cannot be reached or knows no such server.
    """
    farm = _parsed(url, most_seconds)
    count = farm.tracker.count(farm.key)
    if count == 0:
        raise DeviceError(
            f"{url}: the tracker knows no server with the key {farm.key!r}; start"
            f" `python -m tvm.exec.rpc_server --tracker {farm.tracker.address} --key {farm.key}` on a device"
        )
    devices = [RpcDevice(farm, place, memory_limit(count)) for place in range(count)]
    try:
        yield list(devices)
    finally:
        for device in devices:
            device.close()


def _parsed(url: str, most_seconds: float) -> Farm:
    found = _ADDRESS.fullmatch(url)
    if not found or not 0 < int(found[3]) < 1 << 16:
        raise UsageError(f"--device {shortened(url)}: is no address of a tracker; give rpc://HOST:PORT/KEY")
    return Farm(url, Tracker(found[1] or found[2], int(found[3])), found[4], most_seconds)


class RpcDevice:
    """As many jobs run at once as there are servers; each takes the one that the tracker lends it.

    Where a server hangs the tracker does not lend it again, and this device serves no more.
    """

    def __init__(self, farm: Farm, place: int, memory: int) -> None:
        self.name = f"{farm.url} #{place + 1}"
        self._farm, self._place, self._memory = farm, place, memory
        self._process: Process | None = None
        self._lost = ""

    def run(self, job: Job, runner: Path) -> Report:
        """What comes of `job`. Raises DeviceError where no server can be had, or the one that was lent fails."""
        if self._lost:
            raise DeviceError(self._lost)
        process = self._ready()
        with tempfile.NamedTemporaryFile(prefix="lwc-job-", suffix=".tar") as file:
            packed = job.packed(runner)
            file.write(packed)
            file.flush()
            seconds = min(self._farm.most_seconds, job.most_seconds + transfer_seconds(len(packed)))
            library = runner.with_name(RPC_LIBRARY)
            request = Request(self._lent(), seconds, Path(file.name), library, MAX_REPORT)
            return checked(self._answer(process, request), job, self.name)

    def close(self) -> None:
        """End its process."""
        process, self._process = self._process, None
        if process:
            process.end()

    def _ready(self) -> Process:
        if self._process and self._process.runs:
            return self._process
        self.close()
        self._process = begin_process(_CLIENT, self._memory, "talks to devices")
        try:
            self._process.await_ready()
        except ResourceError as error:
            self.close()
            raise DeviceError(f"{self.name}: {error}") from None
        return self._process

    def _lent(self) -> LentServer:
        try:
            count = self._farm.tracker.count(self._farm.key)
            if count > self._place:
                return self._farm.tracker.request(self._farm.key, _WAIT_SECONDS)
        except DeviceError as error:
            raise DeviceError(f"{self.name}: {error}") from None
        raise DeviceError(f"{self.name}: the tracker has lost a server with its key, and knows {count} now")

    def _answer(self, process: Process, request: Request) -> bytes:
        """The report as it came. Raises DeviceError, and ends the process, where none comes."""
        where = f"{self.name}: its server {request.server}"
        try:
            process.connection.send(request)
            if process.connection.poll(request.seconds):
                # No pickle: what talked to a server is not trusted.
                answer = process.connection.recv_bytes(1 + MAX_REPORT)
                if answer[:1] == DONE:
                    return answer[1:]
                raise DeviceError(
                    f"{where} could not run the trials ({one_line(answer[1:].decode(errors='replace'))})"
                )
            self._lost = reason = f"{where} gave no answer within {request.seconds:.0f} s"
        except (EOFError, OSError):
            reason = f"{where} ended the process that talked to it, {process.how_it_ended()}"
        self.close()
        raise DeviceError(reason)
