"""Devices that are reached over ssh. They need sshd, a shell and tar, and nothing of lwc's."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lwc.errors import UsageError
from lwc.tune.device import answered
from lwc.tune.job import LIST, RUNNER, Job, Report

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
        f' cd "$folder" && tar xf - && {trials}'
    )
    return shlex.join(("sh", "-c", script))


def ssh_device(url: str, run_with: tuple[str, ...]) -> SshDevice:
    """The device of `url`, ssh://[USER@]HOST[:PORT]. Raises UsageError where it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    words = (parts.username or "", parts.hostname or "")
    is_plain = parts.password is None and not (parts.path.strip("/") or parts.query or parts.fragment)
    # ssh takes what begins with a dash as an option.
    if parts.scheme != "ssh" or not parts.hostname or not is_plain or any(w.startswith("-") for w in words):
        raise UsageError(
            f"--device {url!r}: is not of the form ssh://USER@HOST:PORT; user and port may be left out"
        )
    user = "" if parts.username is None else f"{parts.username}@"
    return SshDevice(url, f"{user}{parts.hostname}", port, run_with)
