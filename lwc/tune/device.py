"""Where trials run: on this machine, or on another one that a tuner reaches."""

import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lwc.errors import ResourceError
from lwc.tune.job import Job, Report, parse_report

MAX_REPORT = 16 << 20


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
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise DeviceError(f"{name}: {shlex.quote(command[0])} cannot be run ({error.strerror})") from None
    with process:
        try:
            text, complaint = process.communicate(sent, timeout=job.most_seconds)
        except subprocess.TimeoutExpired:
            raise DeviceError(f"{name}: gave no answer within {job.most_seconds:.0f} s") from None
        finally:
            process.kill()
    if process.returncode != 0:
        lines = complaint.decode(errors="replace").strip().splitlines()
        reason = lines[-1][:300] if lines else f"exit code {process.returncode}"
        raise DeviceError(f"{name}: the trials could not be run ({reason})")
    return checked(text, job, name)


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
