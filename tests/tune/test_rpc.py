"""Devices behind a tracker of TVM's RPC: they measure like this machine, and one that fails costs only itself."""

import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Timer

import pytest
import torch
from torch import nn

from lwc.pipeline import Pipeline, run_pipeline
from lwc.tune.bench import Batch, Bench
from lwc.tune.build import prepare_runtime
from lwc.tune.circumstances import circumstances_of
from lwc.tune.device import MAX_REPORT, DeviceError
from lwc.tune.devices import Devices
from lwc.tune.effort import Effort
from lwc.tune.job import RUNNER, Job
from lwc.tune.measure import Measured
from lwc.tune.progress import Search
from lwc.tune.rpc import rpc_devices
from lwc.tune.rpc_client import RPC_LIBRARY
from lwc.tune.rpc_tracker import Tracker
from lwc.tune.search import next_choices
from lwc.tune.store import open_store
from lwc.tune.tasks import Task, tasks_of
from lwc.tune.tuner import Tuner
from lwc.tune.workers import Workers
from tests.programs import program_of
from tests.tune.farm import Server, await_servers, send, tracker_here, two_servers
from tests.tune.layers import TARGET, TOOLCHAIN
from tests.tune.made import no_warning

pytestmark = pytest.mark.slow

CIRCUMSTANCES = circumstances_of(TARGET, 2)
NOTHING = Job((), 1, 1.0)


@pytest.fixture(scope="module")
def tracker() -> Iterator[Tracker]:
    with tracker_here() as tracker:
        yield tracker


@pytest.fixture(scope="module")
def lasting(tracker: Tracker) -> Iterator[list[Server]]:
    """Two servers that no test kills: to start one takes seconds."""
    with two_servers(tracker, "lasting") as servers:
        yield servers


@pytest.fixture
def lasting_url(tracker: Tracker, lasting: list[Server]) -> Iterator[str]:
    # One that hung registers anew.
    await_servers(tracker, "lasting", len(lasting))
    yield f"rpc://{tracker.address}/lasting"
    for server in lasting:
        send(server, signal.SIGCONT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rpc")


@pytest.fixture(scope="module")
def runner(folder: Path) -> Path:
    """`lwc-trials`, with the library that starts it beside it."""
    return prepare_runtime(TOOLCHAIN, folder / "runtime") / RUNNER


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2) as workers:
        yield workers


@pytest.fixture
def tasks(rng: torch.Generator) -> list[Task]:
    """Two matrix products, so that two devices have something to do."""
    net = nn.Sequential(nn.Conv2d(64, 48, 1), nn.ReLU(), nn.Conv2d(48, 32, 1), nn.ReLU())
    program, _ = run_pipeline(Pipeline.parse("default"), program_of(net, (1, 64, 28, 28), rng=rng))
    found = tasks_of(program, TARGET)
    assert len(found) == 2
    return found


def clients() -> list[str]:
    """The processes that talk to servers for this one."""
    children = [
        pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()
    ]
    return [pid for pid in children if b"rpc_client" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_devices_measure_kernels_and_hold_them_against_pytorch(
    tasks: list[Task], lasting_url: str, workers: Workers, folder: Path, seed: int
) -> None:
    draw = random.Random(seed)
    batches = [Batch(task.call, tuple(next_choices(task.kernel, TARGET, [], 3, draw))) for task in tasks]
    with rpc_devices(lasting_url) as devices:
        assert [device.name for device in devices] == [f"{lasting_url} #1", f"{lasting_url} #2"]
        bench = Bench(TARGET, TOOLCHAIN, 2, workers, Devices(devices, no_warning), folder, seed)
        for outcomes in bench.try_each(batches, checked=True):
            assert isinstance(outcomes, list), outcomes
            assert all(isinstance(outcome, Measured) for outcome in outcomes), outcomes
        assert len(clients()) == 2
    assert clients() == []


def test_a_server_that_hangs_is_left_out(lasting: list[Server], lasting_url: str, runner: Path) -> None:
    send(lasting[0], signal.SIGSTOP)
    warnings: list[str] = []
    start = time.monotonic()
    with rpc_devices(lasting_url, most_seconds=10) as found:
        devices = Devices(found, warnings.append)
        assert devices.processor(runner, 1)
        assert time.monotonic() - start < 60
        # There may be another one, of the machine's governor.
        (warning,) = [warning for warning in warnings if "left out" in warning]
        assert "gave no answer within 10 s" in warning
        reports = devices.run([NOTHING] * 3, runner)
    assert [getattr(report, "runs", None) for report in reports] == [()] * 3


def test_what_is_no_report(lasting_url: str, runner: Path, tmp_path: Path) -> None:
    answers = {
        "echo nonsense": "its answer is no report",
        f"head -c {MAX_REPORT + 1} /dev/zero": f"has more than {MAX_REPORT} bytes",
        "echo no disk >&2; exit 3": r"could not run the trials \(no disk\)",
        "exit 4": r"could not run the trials \(exit code 4\)",
    }
    planted = tmp_path / RUNNER
    (tmp_path / RPC_LIBRARY).symlink_to(runner.with_name(RPC_LIBRARY))
    with rpc_devices(lasting_url) as (device, _):
        for script, reason in answers.items():
            planted.write_text(f"#!/bin/sh\n{script}\n")
            planted.chmod(0o755)
            with pytest.raises(DeviceError, match=rf"^{lasting_url} #1: .*{reason}"):
                device.run(NOTHING, planted)
        assert device.run(NOTHING, runner).cpu


def test_servers_that_die(
    tracker: Tracker,
    tasks: list[Task],
    workers: Workers,
    folder: Path,
    store_path: Path,
    rng: torch.Generator,
    seed: int,
) -> None:
    """The search ends well without one, and keeps what it has without any."""
    url = f"rpc://{tracker.address}/dying"
    warnings: list[str] = []

    def search(trials: int, dying: Server, delay: float) -> list[Search]:
        """`dying` is killed some time after trials were added to those that are known."""
        counts: list[int] = []

        def watch(searches: Sequence[Search]) -> None:
            counts.append(sum(len(found.trials) for found in searches))
            if len(set(counts)) == 2:
                Timer(delay, send, (dying, signal.SIGKILL)).start()

        with rpc_devices(url) as found, open_store(store_path, no_warning) as store:
            bench = Bench(TARGET, TOOLCHAIN, 2, workers, Devices(found, warnings.append), folder, seed)
            return Tuner(bench, store, CIRCUMSTANCES, watch).tune(tasks, Effort(trials))

    def kept() -> list[str]:
        with open_store(store_path, no_warning) as store:
            return [record.trial.outcome for record in store.records()]

    with two_servers(tracker, "dying") as (first, second):
        # Not in a state, but at a random moment: while kernels are built, or run.
        searches = search(21, first, torch.rand((), generator=rng).item())
        assert [len(found.trials) for found in searches] == [21, 21]
        assert kept() == ["measured"] * 42
        (warning,) = warnings
        assert "knows 1 now; it is left out" in warning
        with pytest.raises(DeviceError, match=rf"^{url} #1: [^\n]+$"):
            search(10**6, second, 0)
        assert len(kept()) > 42
        assert set(kept()) == {"measured"}


def test_a_key_that_no_server_has(tracker: Tracker) -> None:
    with (
        pytest.raises(DeviceError, match="knows no server with the key 'other'; start"),
        rpc_devices(f"rpc://{tracker.address}/other"),
    ):
        pass
