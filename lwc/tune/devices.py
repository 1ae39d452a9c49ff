"""Several devices of a kind, side by side: one that fails does not end the search, nor does a job that fails on all."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

from lwc.tune.device import Device, DeviceError
from lwc.tune.job import Job, Report
from lwc.tune.trials import Refusal

# A device is left out after so many failures in a row; a job is refused after so many in all.
_STRIKES, _ATTEMPTS = 2, 3


class Devices:
    """Runs jobs on `devices`, as many at once as there are; `warn` hears of those that are left out."""

    def __init__(self, devices: Sequence[Device], warn: Callable[[str], None]) -> None:
        self._devices = list(devices)
        self._strikes = Counter[str]()
        self._warn = warn

    def processor(self, runner: Path, threads: int) -> str:
        """The processor that the devices say they have; those with another than the first one are left out.

        Raises DeviceError where none can be reached.
        """
        devices = list(self._devices)
        found: dict[str, list[Device]] = {}
        for device, report in _side_by_side(devices, [Job((), threads, 1.0)] * len(devices), runner):
            if isinstance(report, DeviceError):
                self._leave_out(device, report)
                continue
            found.setdefault(report.cpu, []).append(device)
            if report.condition:
                self._warn(f"{device.name}: {report.condition}; times will vary, unless that is changed")
        cpu, *others = found
        for device in (device for other in others for device in found[other]):
            self._devices.remove(device)
            self._warn(f"{device.name}: its processor is not {cpu}, as that of the others; it is left out")
        return cpu

    def run(self, jobs: Sequence[Job], runner: Path) -> list[Report | Refusal]:
        """What comes of each of `jobs`. Raises DeviceError where no device is left."""
        done: dict[int, Report | Refusal] = {}
        failures = Counter[int]()
        while waiting := [number for number in range(len(jobs)) if number not in done]:
            turn = waiting[: len(self._devices)]
            devices = self._devices[: len(turn)]
            answers = _side_by_side(devices, [jobs[number] for number in turn], runner)
            for number, (device, answer) in zip(turn, answers, strict=True):
                if isinstance(answer, Report):
                    done[number], self._strikes[device.name] = answer, 0
                    continue
                failures[number] += 1
                if failures[number] == _ATTEMPTS:
                    done[number] = Refusal(str(answer))
                self._strike(device, answer)
        return [done[number] for number in range(len(jobs))]

    def _strike(self, device: Device, error: DeviceError) -> None:
        self._strikes[device.name] += 1
        if self._strikes[device.name] == _STRIKES:
            self._leave_out(device, error)
            return
        # The last in line, so that what failed there is tried elsewhere.
        self._devices.remove(device)
        self._devices.append(device)

    def _leave_out(self, device: Device, error: DeviceError) -> None:
        self._devices.remove(device)
        if not self._devices:
            raise error
        self._warn(f"{error}; it is left out")


def _side_by_side(
    devices: Sequence[Device], jobs: Sequence[Job], runner: Path
) -> list[tuple[Device, Report | DeviceError]]:
    """What each of `devices` says of its job."""
    answers: list[Report | DeviceError] = [
        DeviceError(f"{device.name}: gave no answer") for device in devices
    ]

    def ask(place: int) -> None:
        try:
            answers[place] = devices[place].run(jobs[place], runner)
        except DeviceError as error:
            answers[place] = error

    if len(devices) == 1:
        ask(0)
    else:
        # Of a daemon nobody waits when the user interrupts the search.
        threads = [Thread(target=ask, args=(place,), daemon=True) for place in range(len(devices))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return list(zip(devices, answers, strict=True))
