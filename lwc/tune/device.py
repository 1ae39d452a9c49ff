"""Where trials run: on this machine, or on another one that a tuner reaches."""

import ctypes
import resource
import shlex
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from lwc.errors import ResourceError
from lwc.files import one_line
from lwc.tune.job import Job, Report, parse_report

MAX_REPORT = 16 << 20
_LEAST_TRANSFER_SECONDS, _BYTES_A_SECOND = 30.0, 1 << 20
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class DeviceError(ResourceError):
    """A device cannot be reached, or gives no answer: its trials have to be run elsewhere, or later."""


class Device(Protocol):
    """Runs jobs, one at a time."""

    @property
    def name(self) -> str:
        """What a user calls it."""
        ...

    def run(self, job: Job, runner: Path) -> Report:
        """What comes of `job`; `runner` is `lwc-trials` for it. Raises DeviceError."""
        ...


@dataclass(frozen=True)
class LocalDevice:
    """This machine."""

    name: str = "this machine"

    def run(self, job: Job, runner: Path) -> Report:
        """What comes of `job`. Raises DeviceError where it cannot be run at all."""
        with tempfile.NamedTemporaryFile("w", prefix="lwc-list-") as listed:
            listed.write(job.listed({folder: str(folder) for folder in job.folders}))
            listed.flush()
            return answered([str(runner), listed.name], b"", job, self.name)


def answered(command: list[str], sent: bytes, job: Job, name: str) -> Report:
    """The report of `job` that `command` prints, given `sent`. Raises DeviceError, which calls the device `name`."""
    seconds = job.most_seconds + transfer_seconds(len(sent))
    # In files, whose size is limited: what a device sends may have no end.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaint:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=complaint,
                start_new_session=True,
                preexec_fn=_limit,
            )
        except (OSError, subprocess.SubprocessError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DeviceError(f"{name}: {shlex.quote(command[0])} cannot be run ({reason})") from None
        with process:
            try:
                process.communicate(sent, timeout=seconds)
            except subprocess.TimeoutExpired:
                raise DeviceError(f"{name}: gave no answer within {seconds:.0f} s") from None
            finally:
                process.kill()
        if process.returncode != 0:
            reason = _last_line(complaint) or f"exit code {process.returncode}"
            raise DeviceError(f"{name}: the trials could not be run ({reason})")
        output.seek(0)
        return checked(output.read(), job, name)


def transfer_seconds(count: int) -> float:
    """What the way of so many bytes to a device, and of its answer, may take."""
    return _LEAST_TRANSFER_SECONDS + count / _BYTES_A_SECOND


def _limit() -> None:
    """In the new process: it ends with the thread that waits for it, and writes no more than a report can have."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_REPORT + 1, MAX_REPORT + 1))


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return one_line(lines[-1])[:300] if lines else ""


def checked(text: bytes, job: Job, name: str) -> Report:
    """The report in `text`, which answers `job`. Raises DeviceError where it does not."""
    if len(text) > MAX_REPORT:
        raise DeviceError(f"{name}: its answer has more than {MAX_REPORT} bytes")
    try:
        report = parse_report(text)
    except ValueError as error:
        raise DeviceError(f"{name}: {error}") from None
    if len(report.runs) != len(job.runs):
        raise DeviceError(f"{name}: tells of {len(report.runs)} runs, not of {len(job.runs)}")
    return report
