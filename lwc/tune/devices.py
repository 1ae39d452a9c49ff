"""Several devices of a kind, side by side: one that fails does not end the search, nor does a job that fails on all."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock, Thread

from lwc.tune.device import Device, DeviceError
from lwc.tune.job import Job, Report
from lwc.tune.trials import Refusal

# A device is left out where so many jobs in a row failed there; a job is refused after so many failures.
_STRIKES, _ATTEMPTS = 2, 2
# Seconds in which others may take what failed on a device, before it does itself.
_PAUSE = 0.2


class Devices:
    """Runs jobs on `devices`, each on the first that is free; `warn` hears of those that are left out."""

    def __init__(self, devices: Sequence[Device], warn: Callable[[str], None]) -> None:
        self._devices = list(devices)
        self._failed: dict[str, list[Job]] = {device.name: [] for device in devices}
        self._warn = warn
        self._cpu: str | None = None
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._devices)

    def processor(self, runner: Path, threads: int) -> str:
        """The processor that the devices say they have; those with another than the first one are left out.

        Raises DeviceError where none can be reached.
        """
        devices = list(self._devices)
        found: dict[str, Report | DeviceError] = {}

        def ask(device: Device) -> None:
            try:
                found[device.name] = device.run(Job((), threads, 1.0), runner)
            except DeviceError as error:
                found[device.name] = error

        _side_by_side(ask, devices)
        for device in devices:
            report = found[device.name]
            if isinstance(report, DeviceError):
                self._leave_out(device, report)
                continue
            self._cpu = self._cpu or report.cpu
            if report.cpu != self._cpu:
                self._leave_out(device, self._other_processor(device, report))
            elif report.condition:
                self._warn(f"{device.name}: {report.condition}; times will vary, unless that is changed")
        assert self._cpu is not None
        return self._cpu

    def run(self, jobs: Sequence[Job], runner: Path) -> list[Report | Refusal]:
        """What comes of each of `jobs`. Raises DeviceError where no device is left."""
        waiting = deque(range(len(jobs)))
        done: dict[int, Report | Refusal] = {}
        failures = Counter[int]()

        def serve(device: Device) -> None:
            while len(done) < len(jobs) and device in self._devices:
                try:
                    number = waiting.popleft()
                except IndexError:
                    # What another device has now may fail there.
                    time.sleep(_PAUSE / 4)
                    continue
                try:
                    done[number] = self._run(device, jobs[number], runner)
                except DeviceError as error:
                    failures[number] += 1
                    if failures[number] == _ATTEMPTS:
                        done[number] = Refusal(str(error))
                    else:
                        waiting.append(number)
                    self._note_failure(device, jobs[number], error)
                    time.sleep(_PAUSE)
                except BaseException:
                    # Who waits for all jobs would wait for ever.
                    waiting.append(number)
                    raise

        _side_by_side(serve, list(self._devices))
        return [done[number] for number in range(len(jobs))]

    def _run(self, device: Device, job: Job, runner: Path) -> Report:
        report = device.run(job, runner)
        if self._cpu not in (None, report.cpu):
            raise self._other_processor(device, report)
        self._failed[device.name].clear()
        return report

    def _other_processor(self, device: Device, report: Report) -> DeviceError:
        return DeviceError(f"{device.name}: its processor is {report.cpu}, that of the others {self._cpu}")

    def _note_failure(self, device: Device, job: Job, error: DeviceError) -> None:
        with self._lock:
            failed = self._failed[device.name]
            if job not in failed:
                failed.append(job)
            if len(failed) >= _STRIKES and device in self._devices:
                self._leave_out(device, error)

    def _leave_out(self, device: Device, error: DeviceError) -> None:
        self._devices.remove(device)
        if not self._devices:
            raise error
        self._warn(f"{error}; it is left out")


def _side_by_side(action: Callable[[Device], None], devices: Sequence[Device]) -> None:
    """Call `action` on each of `devices`. Raises what one of them raises, when all have ended."""
    errors: list[BaseException] = []

    def act(device: Device) -> None:
        try:
            action(device)
        except BaseException as error:
            errors.append(error)

    if len(devices) == 1:
        # In this thread an interruption is heard at once.
        action(devices[0])
        return
    # Of a daemon nobody waits when the user interrupts the search.
    threads = [Thread(target=act, args=(device,), daemon=True) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
