"""Devices that are reached over ssh. They need sshd, a shell and tar, and nothing of lwc's."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from lwc.errors import UsageError
from lwc.tune.device import answered
from lwc.tune.job import LIST, RUNNER, Job, Report

# ssh would take what begins with a dash as an option.
_ADDRESS = re.compile(r"ssh://(?:([\w.][\w.-]*)@)?([\w.][\w.-]*|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?/?")
# Nobody is there to type a password, and a device that is gone is to be noticed.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=10", "ServerAliveCountMax=3")


@dataclass(frozen=True)
class SshDevice:
    """The `destination` of ssh, [USER@]HOST, at `port`, by ssh's own settings where None.

    `run_with` stands before each program there.
    """

    name: str
    destination: str
    port: int | None
    run_with: tuple[str, ...] = ()

    def run(self, job: Job, runner: Path) -> Report:
        """What comes of `job`; all that it needs is sent, and is gone afterwards. Raises DeviceError."""
        options = [word for option in _OPTIONS for word in ("-o", option)]
        port = [] if self.port is None else ["-p", str(self.port)]
        command = ["ssh", "-T", *options, *port, "--", self.destination, _remote(self.run_with)]
        return answered(command, job.packed(runner), job, self.name)


def _remote(run_with: tuple[str, ...]) -> str:
    """What the device's shell, whichever that is, is to do with the archive on its standard input."""
    trials = shlex.join((*run_with, f"./{RUNNER}", LIST, *run_with))
    script = (
        'folder=$(mktemp -d) || exit; trap \'rm -rf "$folder"\' EXIT; trap "exit 1" HUP INT TERM;'
        f' cd "$folder" && tar -xof - && {trials}'
    )
    return shlex.join(("sh", "-c", script))


def ssh_device(url: str, run_with: tuple[str, ...]) -> SshDevice:
    """The device of `url`, ssh://[USER@]HOST[:PORT]. Raises UsageError where it is none."""
    found = _ADDRESS.fullmatch(url)
    if not found or not 0 < int(found[3] or 22) < 1 << 16:
        raise UsageError(
            f"--device {url!r}: is not of the form ssh://USER@HOST:PORT; user and port may be left out"
        )
    host = found[2].strip("[]")
    destination = f"{found[1]}@{host}" if found[1] else host
    return SshDevice(url, destination, int(found[3]) if found[3] else None, run_with)
