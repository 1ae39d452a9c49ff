"""From the URLs that a user gives to the devices behind them."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from lwc.errors import UsageError
from lwc.tune.device import Device
from lwc.tune.rpc import rpc_devices
from lwc.tune.ssh import ssh_device


@contextmanager
def open_devices(urls: Sequence[str], run_with: str = "") -> Iterator[tuple[Device, ...]]:
    """The devices behind `urls`, while the block lasts; `run_with` is a command that stands before each program there.

    Raises UsageError where a URL is malformed, DeviceError where a tracker cannot be reached or has no devices.
    """
    try:
        prefix = tuple(shlex.split(run_with))
    except ValueError as error:
        raise UsageError(f"--run-with {run_with!r}: is no command ({error})") from None
    if repeated := [url for url, count in Counter(urls).items() if count > 1]:
        raise UsageError(
            f"--device {repeated[0]}: is given more than once; its trials would disturb each other"
        )
    with ExitStack() as stack:
        yield tuple(device for url in urls for device in _behind(url, prefix, stack))


def _behind(url: str, run_with: tuple[str, ...], stack: ExitStack) -> Sequence[Device]:
    if url.startswith("ssh://"):
        return [ssh_device(url, run_with)]
    if not url.startswith("rpc://"):
        raise UsageError(
            f"--device {url!r}: is none of the forms ssh://USER@HOST:PORT and rpc://HOST:PORT/KEY"
        )
    if run_with:
        raise UsageError(f"--run-with: is for devices over ssh; start the servers of {url} so")
    return stack.enter_context(rpc_devices(url))
