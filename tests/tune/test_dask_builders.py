"""Builds on a Dask cluster: a scheduler and two workers on this machine, each a process of its own."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from distributed import LocalCluster

from lwc.compile_request import CompileRequest
from lwc.errors import ResourceError, UsageError
from lwc.models.request import ModelRequest
from lwc.tune.bench import Batch, Bench
from lwc.tune.circumstances import circumstances_of, current_versions
from lwc.tune.dask_builders import dask_builders
from lwc.tune.effort import Effort
from lwc.tune.measure import Measured, Outcome, Wrong
from lwc.tune.store import open_store
from lwc.tune.tasks import Task
from lwc.tune.trials import Built, Refusal
from lwc.tune.tuner import Tuner
from lwc.tuning import Places, tune_model
from tests.compiled.support import Recorder
from tests.tune.elsewhere import BUILDS, PROGRAM, SOUND, trials_of
from tests.tune.layers import LOCAL, TARGET, TOOLCHAIN, product_task
from tests.tune.marked import left_of, marked
from tests.tune.planted_worker import FAULTS_BY_GROUPS

pytestmark = pytest.mark.slow

PLANTED = (sys.executable, str(Path(__file__).with_name("planted_worker.py")))
# A process that builds, but the first one kills the Dask worker that started it.
KILLS_ITS_WORKER = """
import os, runpy, signal
try:
    os.close(os.open({marker!r}, os.O_CREAT | os.O_EXCL))
except FileExistsError:
    runpy.run_module("lwc.tune.worker", run_name="__main__")
else:
    os.kill(os.getppid(), signal.SIGKILL)
"""


def cluster_of(workers: int) -> LocalCluster:
    """A scheduler, and so many workers that are restarted where they die."""
    return LocalCluster(
        n_workers=workers, processes=True, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )


@pytest.fixture(scope="module")
def address(mark: str) -> Iterator[str]:
    """Where the scheduler of two workers is."""
    with cluster_of(2) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def task(rng: torch.Generator) -> Task:
    """A matrix product with many row tiles, so that every fault can be planted."""
    return product_task(rng)


def folder_in(path: Path, name: str = "here") -> Path:
    """A new folder."""
    folder = path / name
    folder.mkdir()
    return folder


def test_a_kernel_is_tuned(address: str, mark: str, task: Task, tmp_path: Path, seed: int) -> None:
    here = circumstances_of(TARGET, 2)
    with dask_builders(address) as builders, open_store(tmp_path / "store.sqlite", pytest.fail) as store:
        assert len(builders) == 2
        bench = Bench(TARGET, TOOLCHAIN, 2, builders, LOCAL, tmp_path, seed)
        (search,) = Tuner(bench, store, here, lambda searches: None).tune([task], Effort(7))
        assert marked(mark, BUILDS)
        assert len(store.trials(task.workload, here)) == len(search.trials) == 7
    assert not search.fault
    assert any(trial.outcome == "measured" for trial in search.trials.values())
    assert left_of(mark, BUILDS) == []


def test_it_is_built_with_the_workers_own_tools(address: str, task: Task, tmp_path: Path, seed: int) -> None:
    folders = [folder_in(tmp_path, name) for name in ("first", "second")]
    with dask_builders(address) as builders:
        answers = builders.build([(trials_of(task, seed), folder) for folder in folders])
    for answer, folder in zip(answers, folders, strict=True):
        assert isinstance(answer, Built), answer
        assert answer.folder == folder
        assert {file.name for file in folder.iterdir()} == set(PROGRAM)


def test_each_fault_is_the_candidates_own(address: str, task: Task, tmp_path: Path, seed: int) -> None:
    planted = {fault: groups for groups, fault in FAULTS_BY_GROUPS.items()}
    faults = ("raises", "dies", "wrong and fast", "crashes")
    choices = tuple({"rows": 4, "vectors": 1, "groups": planted[fault], "step": 1} for fault in faults)
    with dask_builders(address, PLANTED) as builders:
        bench = Bench(TARGET, TOOLCHAIN, 2, builders, LOCAL, tmp_path, seed, seconds=5)
        (found,) = bench.try_each([Batch(task.call, (*choices, SOUND))], checked=True)
    assert isinstance(found, list), found
    *faulty, good = found
    outcomes = dict(zip(faults, faulty, strict=True))
    assert isinstance(good, Measured)
    assert isinstance(outcomes.pop("wrong and fast"), Wrong)
    reasons = {fault: refused(outcome) for fault, outcome in outcomes.items()}
    assert "a planted error" in reasons["raises"]
    assert reasons["dies"].endswith("by signal 6")
    assert "signal 11" in reasons["crashes"]


def refused(outcome: Outcome | Built) -> str:
    assert isinstance(outcome, Refusal), outcome
    return outcome.reason


def test_what_one_worker_loses_another_one_builds(
    address: str, task: Task, tmp_path: Path, seed: int
) -> None:
    script = KILLS_ITS_WORKER.format(marker=str(tmp_path / "killed"))
    with dask_builders(address, (sys.executable, "-c", script)) as builders:
        (answer,) = builders.build([(trials_of(task, seed), folder_in(tmp_path))])
    assert (tmp_path / "killed").exists()
    assert isinstance(answer, Built), answer


def test_what_costs_two_workers_is_refused(address: str, task: Task, tmp_path: Path, seed: int) -> None:
    script = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    with dask_builders(address, (sys.executable, "-c", script)) as builders:
        (answer,) = builders.build([(trials_of(task, seed), folder_in(tmp_path))])
    assert "was lost twice" in refused(answer)


def test_a_worker_that_cannot_build_is_no_candidates_fault(
    address: str, task: Task, tmp_path: Path, seed: int
) -> None:
    with (
        dask_builders(address, (sys.executable, "-c", "raise SystemExit(7)")) as builders,
        pytest.raises(ResourceError, match=r"its worker tcp://.* ended before it began, with exit code 7"),
    ):
        builders.build([(trials_of(task, seed), folder_in(tmp_path))])


def test_a_cluster_that_is_gone(task: Task, tmp_path: Path, seed: int) -> None:
    with cluster_of(1) as cluster, dask_builders(cluster.scheduler_address) as builders:
        cluster.close()
        with pytest.raises(ResourceError, match=r"^Dask scheduler 'tcp://[^']*': is gone \(.*\); start"):
            builders.build([(trials_of(task, seed), folder_in(tmp_path))])


def test_a_cluster_without_workers() -> None:
    with (
        cluster_of(0) as cluster,
        pytest.raises(ResourceError, match=r"': has no workers; start some with `dask worker tcp://"),
        dask_builders(cluster.scheduler_address),
    ):
        pass


def test_a_worker_of_other_versions(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lwc.tune.dask_builders.current_versions", lambda: "lwc 9.9.9")
    says = rf"its worker tcp://\S+ has {current_versions()}, not lwc 9.9.9; install the same"
    with pytest.raises(ResourceError, match=says), dask_builders(address):
        pass


def tune_on(address: str) -> None:
    """Fails before there is anything to tune."""
    request = CompileRequest(ModelRequest("no-such-model"))
    tune_model(
        request, Effort(0), Path("unused"), Recorder(), lambda searches: None, Places(builders=address)
    )


@pytest.mark.parametrize("what", ["closed", "silent", "nonsense", "two\nlines", ""])
def test_an_address_where_no_scheduler_is(what: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        place = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        if what == "closed":
            server.close()
        wanted, start = place if what in ("closed", "silent") else what, time.monotonic()
        with pytest.raises(ResourceError, match=r"^Dask scheduler '.*': does not answer") as caught:
            tune_on(wanted)
        assert time.monotonic() - start < 15
        assert repr(wanted) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"--builders: .*`pip install 'lwc\[farm\]'`$"):
        tune_on("tcp://127.0.0.1:1")


def test_who_does_not_ask_for_it_does_not_wait_for_it() -> None:
    check = "import sys, lwc.tuning, lwc.cli.tune; raise SystemExit('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], timeout=120).returncode == 0
