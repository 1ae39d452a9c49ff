"""Several devices: what one cannot do, another does."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lwc.errors import ResourceError
from lwc.tune.device import DeviceError, LocalDevice, checked
from lwc.tune.devices import Devices
from lwc.tune.job import Job, Ran, Report, Run
from lwc.tune.trials import Refusal

RUNNER = Path("lwc-trials")


@dataclass
class Made:
    """A device that answers with its name, unless `fails` says of a job that it does not."""

    name: str
    fails: Callable[[Job], bool] = lambda job: False
    cpu: str = "Cortex-A76"
    governor: str = "performance"
    seconds: float = 0.01
    seen: list[Job] = field(default_factory=list)

    def run(self, job: Job, runner: Path) -> Report:
        assert runner == RUNNER
        self.seen.append(job)
        time.sleep(self.seconds)
        if self.fails(job):
            raise DeviceError(f"{self.name}: is gone")
        runs = tuple(Ran(code=0, signal=0, late=False, printed=self.name) for _ in job.runs)
        return Report(runs=runs, cpu=self.cpu, governor=self.governor, throttled=False)


def jobs(count: int, first: int = 0) -> list[Job]:
    return [Job((Run(Path(str(number)), ()),), 2, 1.0) for number in range(first, first + count)]


def who(report: Report | Refusal) -> str:
    assert isinstance(report, Report), report
    assert report.runs[0] is not None
    return report.runs[0].printed


def always(job: Job) -> bool:
    return True


@pytest.fixture
def warnings() -> list[str]:
    """What was warned of."""
    return []


def test_each_does_its_part(warnings: list[str]) -> None:
    devices = Devices([Made("a"), Made("b")], warnings.append)
    assert set(map(who, devices.run(jobs(40), RUNNER))) == {"a", "b"}
    assert warnings == []


def test_a_slow_one_holds_nothing_up_but_its_own_job(warnings: list[str]) -> None:
    devices = Devices([Made("slow", seconds=1), Made("fast")], warnings.append)
    assert sorted(map(who, devices.run(jobs(8), RUNNER))) == ["fast"] * 7 + ["slow"]


def test_one_that_dies_is_left_out(warnings: list[str]) -> None:
    dead = Made("dead", always)
    devices = Devices([dead, Made("a")], warnings.append)
    for number in range(3):
        assert list(map(who, devices.run(jobs(4, 4 * number), RUNNER))) == ["a"] * 4
    assert len(dead.seen) == 2
    assert warnings == ["dead: is gone; it is left out"]


def test_one_failure_is_forgiven(warnings: list[str]) -> None:
    tired = Made("tired")
    tired.fails = lambda job: len(tired.seen) in (1, 4)
    devices = Devices([tired], warnings.append)
    for _ in range(5):
        assert list(map(who, devices.run(jobs(1), RUNNER))) == ["tired"]
    assert warnings == []


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_a_job_that_fails_everywhere_is_refused(names: str, warnings: list[str]) -> None:
    def is_bad(job: Job) -> bool:
        return job.runs[0].folder == Path("1")

    devices = Devices([Made(name, is_bad) for name in names], warnings.append)
    first, second, third = devices.run(jobs(3), RUNNER)
    assert isinstance(second, Refusal)
    assert second.reason.endswith(": is gone")
    assert who(first)
    assert who(third)
    assert warnings == []


def test_none_is_left(warnings: list[str]) -> None:
    devices = Devices([Made("a", always), Made("b", always)], warnings.append)
    with pytest.raises(ResourceError, match=r"^[ab]: is gone$"):
        devices.run(jobs(4), RUNNER)


def test_those_with_another_processor_are_left_out(warnings: list[str]) -> None:
    devices = Devices([Made("a"), Made("b", cpu="Cortex-A55"), Made("c", always), Made("d")], warnings.append)
    assert devices.processor(RUNNER, 2) == "Cortex-A76"
    assert warnings == [
        "b: its processor is Cortex-A55, that of the others Cortex-A76; it is left out",
        "c: is gone; it is left out",
    ]
    assert set(map(who, devices.run(jobs(40), RUNNER))) == {"a", "d"}


def test_one_that_becomes_another_is_no_more_believed(warnings: list[str]) -> None:
    """A tracker lends whichever server is free."""
    other = Made("other")
    devices = Devices([other, Made("a")], warnings.append)
    assert devices.processor(RUNNER, 2) == "Cortex-A76"
    other.cpu = "Cortex-A55"
    for number in range(2):
        assert list(map(who, devices.run(jobs(8, 8 * number), RUNNER))) == ["a"] * 8
    assert warnings == ["other: its processor is Cortex-A55, that of the others Cortex-A76; it is left out"]


def fill(job: Job) -> bool:
    raise ResourceError("the disk is full")


@pytest.mark.parametrize(
    "devices", [[Made("a", fill)], [Made("a", fill), Made("b", fill)], [Made("a", fill), Made("b")]]
)
def test_what_is_no_devices_fault_ends_the_search(devices: list[Made]) -> None:
    with pytest.raises(ResourceError, match="the disk is full"):
        Devices(devices, lambda message: None).run(jobs(4), RUNNER)


def test_a_clock_that_varies_is_warned_of(warnings: list[str]) -> None:
    Devices([Made("a", governor="powersave")], warnings.append).processor(RUNNER, 2)
    assert warnings == ["a: governor powersave; times will vary, unless that is changed"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "its answer is no report"),
        (b"x" * (16 * 1024 * 1024 + 1), "its answer has more than"),
        (b'{"runs": [null], "cpu": "a\\nb", "governor": "", "throttled": false}', "its answer is no report"),
        (b'{"runs": [null], "cpu": "", "governor": "", "throttled": false}', "its answer is no report"),
        (b'{"runs": [], "cpu": "a", "governor": "", "throttled": false}', "tells of 0 runs, not of 1"),
        (b'{"runs": [null], "cpu": "a", "governor": "", "throttled": "no"}', "its answer is no report"),
    ],
)
def test_an_answer_is_checked(text: bytes, reason: str) -> None:
    with pytest.raises(DeviceError, match=f"^board: {reason}") as caught:
        checked(text, jobs(1)[0], "board")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("cat /dev/zero", r"the trials could not be run \((File size limit exceeded|exit code -25)"),
        ("echo a; echo no room >&2; exit 7", r"the trials could not be run \(no room\)"),
        ("sleep 100", "gave no answer within"),
    ],
)
def test_a_device_that_lies(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lwc.tune.device.transfer_seconds", lambda count: 5 - 61.0)
    runner = tmp_path / "lwc-trials"
    runner.write_text(f"#!/bin/sh\n{script}\n")
    runner.chmod(0o755)
    with pytest.raises(DeviceError, match=f"^this machine: {reason}"):
        LocalDevice().run(jobs(1)[0], runner)


def test_this_machine_without_the_runner(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"this machine: .*lwc-trials cannot be run \(No such file"):
        LocalDevice().run(jobs(1)[0], tmp_path / "lwc-trials")
