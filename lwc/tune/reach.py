"""From the URLs that a user gives to the devices behind them."""

import shlex
from collections.abc import Sequence

from lwc.errors import UsageError
from lwc.tune.device import Device
from lwc.tune.ssh import ssh_device

FORMS = "ssh://USER@HOST:PORT"


def devices_of(urls: Sequence[str], run_with: str) -> tuple[Device, ...]:
    """The devices behind `urls`; `run_with` is a command that stands before each program there.

    Raises UsageError where one of them is malformed.
    """
    try:
        prefix = tuple(shlex.split(run_with))
    except ValueError as error:
        raise UsageError(f"--run-with {run_with!r}: is no command ({error})") from None
    return tuple(_device(url, prefix) for url in urls)


def _device(url: str, run_with: tuple[str, ...]) -> Device:
    if url.startswith("ssh://"):
        return ssh_device(url, run_with)
    raise UsageError(f"--device {url!r}: is none of the forms {FORMS}")
