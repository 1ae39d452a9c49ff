"""Devices behind a tracker of TVM's RPC: they measure like this machine, and one that fails costs only itself."""

import random
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread, Timer

import psutil
import pytest
import torch
from torch import nn

from lwc.errors import UsageError
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
from tests.tune.farm import Server, free_port, send, tracker_here, two_servers
from tests.tune.layers import TARGET, TOOLCHAIN
from tests.tune.made import no_warning

pytestmark = pytest.mark.slow

CIRCUMSTANCES = circumstances_of(TARGET, 2)
NOTHING = Job((), 1, 1.0)


@pytest.fixture(scope="module")
def tracker() -> Iterator[Tracker]:
    with tracker_here() as tracker:
        yield tracker


@pytest.fixture
def key(seed: int) -> str:
    """Another one for each test, so that none gets another's servers."""
    return f"board{seed}"


@pytest.fixture
def servers(tracker: Tracker, key: str) -> Iterator[list[Server]]:
    with two_servers(tracker, key) as servers:
        yield servers


@pytest.fixture
def url(tracker: Tracker, key: str) -> str:
    return f"rpc://{tracker.address}/{key}"


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """`lwc-trials`, with the library that starts it beside it."""
    return prepare_runtime(TOOLCHAIN, tmp_path / "runtime") / RUNNER


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
    commands = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    return [command for command in commands if "rpc_client" in command]


@pytest.mark.usefixtures("servers")
def test_devices_measure_kernels_and_hold_them_against_pytorch(
    tasks: list[Task], url: str, tmp_path: Path, seed: int
) -> None:
    batches = [
        Batch(task.call, tuple(next_choices(task.kernel, TARGET, [], 3, random.Random(seed))))
        for task in tasks
    ]
    with rpc_devices(url) as devices, Workers(2) as workers:
        assert [device.name for device in devices] == [f"{url} #1", f"{url} #2"]
        bench = Bench(TARGET, TOOLCHAIN, 2, workers, Devices(devices, no_warning), tmp_path, seed)
        for outcomes in bench.try_each(batches, checked=True):
            assert isinstance(outcomes, list), outcomes
            assert all(isinstance(outcome, Measured) for outcome in outcomes), outcomes
        assert len(clients()) == 2
    assert clients() == []


@pytest.fixture
def search(tasks: list[Task], tmp_path: Path, seed: int, url: str) -> Callable[..., list[Search]]:
    """Searches on the servers; `after` is called when the first trials are over."""

    def run(warnings: list[str], after: Callable[[], None]) -> list[Search]:
        called: list[None] = []

        def watch(searches: Sequence[Search]) -> None:
            if not called and any(search.trials for search in searches):
                called.append(after())

        with (
            rpc_devices(url) as found,
            Workers(2) as workers,
            open_store(tmp_path / "store.sqlite", no_warning) as store,
        ):
            bench = Bench(TARGET, TOOLCHAIN, 2, workers, Devices(found, warnings.append), tmp_path, seed)
            return Tuner(bench, store, CIRCUMSTANCES, watch).tune(tasks, Effort(21))

    return run


def test_a_server_that_dies_is_left_out(
    servers: list[Server], search: Callable[..., list[Search]], rng: torch.Generator
) -> None:
    # Not in a state, but at a random moment: while kernels are built, or run.
    delay = 3 * torch.rand((), generator=rng).item()
    warnings: list[str] = []
    searches = search(warnings, lambda: Timer(delay, send, (servers[0], signal.SIGKILL)).start())
    (warning,) = warnings
    assert "knows 1 now; it is left out" in warning
    for found in searches:
        assert len(found.trials) == 21
        assert all(trial.outcome == "measured" for trial in found.trials.values())


def test_where_all_servers_die_the_trials_before_are_kept(
    servers: list[Server], search: Callable[..., list[Search]], tmp_path: Path
) -> None:
    def kill() -> None:
        for server in servers:
            send(server, signal.SIGKILL)

    with pytest.raises(DeviceError, match=r"^rpc://\S+ #[12]: [^\n]+$"):
        search([], kill)
    with open_store(tmp_path / "store.sqlite", no_warning) as store:
        records = store.records()
    assert records
    assert all(record.trial.outcome == "measured" for record in records)


def test_a_server_that_hangs_is_left_out(servers: list[Server], url: str, runner: Path) -> None:
    send(servers[0], signal.SIGSTOP)
    warnings: list[str] = []
    start = time.monotonic()
    with rpc_devices(url, most_seconds=10) as found:
        devices = Devices(found, warnings.append)
        assert devices.processor(runner, 1)
        assert time.monotonic() - start < 60
        (warning,) = warnings
        assert "gave no answer within 10 s; it is left out" in warning
        reports = devices.run([NOTHING] * 3, runner)
    assert [getattr(report, "runs", None) for report in reports] == [()] * 3


@pytest.mark.usefixtures("servers")
def test_what_is_no_report(url: str, runner: Path, tmp_path: Path) -> None:
    answers = {
        "echo nonsense": "its answer is no report",
        f"head -c {MAX_REPORT + 1} /dev/zero": f"has more than {MAX_REPORT} bytes",
        "echo no disk >&2; exit 3": r"could not run the trials \(no disk\)",
        "exit 4": r"could not run the trials \(exit code 4\)",
        'echo "{}"': "its answer is no report",
        "sleep 600": "gave no answer within 10 s",
    }
    planted = tmp_path / RUNNER
    (tmp_path / RPC_LIBRARY).symlink_to(runner.with_name(RPC_LIBRARY))
    with rpc_devices(url, most_seconds=10) as (device, _):
        assert device.run(NOTHING, runner).cpu
        for script, reason in answers.items():
            planted.write_text(f"#!/bin/sh\n{script}\n")
            planted.chmod(0o755)
            with pytest.raises(DeviceError, match=rf"^{url} #1: .*{reason}"):
                device.run(NOTHING, planted)


@pytest.mark.parametrize(
    "rest", ["", "host/key", "host:9", "host:9/", "host:0/key", "host:99999/key", "host:9/a key"]
)
def test_what_is_no_address(rest: str) -> None:
    with pytest.raises(UsageError, match=r": is no address of a tracker; give rpc://HOST:PORT/KEY$"):  # noqa: SIM117
        with rpc_devices(f"rpc://{rest}"):
            pass


def test_a_key_that_no_server_has(tracker: Tracker) -> None:
    with (
        pytest.raises(DeviceError, match="knows no server with the key 'other'; start"),
        rpc_devices(f"rpc://{tracker.address}/other"),
    ):
        pass


def test_what_is_no_tracker() -> None:
    with (
        pytest.raises(DeviceError, match=r"^tracker 127.0.0.1:\d+: cannot be reached"),
        rpc_devices(f"rpc://127.0.0.1:{free_port()}/key"),
    ):
        pass
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")
                connection.recv(4)

        Thread(target=answer, daemon=True).start()
        port = other.getsockname()[1]
        with (
            pytest.raises(DeviceError, match="does not answer as a tracker"),
            rpc_devices(f"rpc://127.0.0.1:{port}/key"),
        ):
            pass
