"""Tuning a whole model: what is slower there is given up again, and what is kept is compiled."""

from pathlib import Path

import pytest

from lwc.compile_request import CompileRequest
from lwc.driver import compile_package
from lwc.errors import UnsupportedError
from lwc.layer_times import Times
from lwc.lower.lower import lower
from lwc.models.request import ModelRequest
from lwc.prepare import Prepared, load, prepare
from lwc.reporter import Clock
from lwc.targets.resolve import resolve_target
from lwc.tune.chosen import Chosen
from lwc.tune.circumstances import ROUNDS, circumstances_of
from lwc.tune.effort import Effort
from lwc.tune.records import Trial
from lwc.tune.store import open_store
from lwc.tune.tasks import Task, tasks_of
from lwc.tuning import tune_model
from tests.compiled.support import Recorder

pytestmark = pytest.mark.slow

MODEL = ModelRequest("mobilenet_v1", width=0.25, image_size=96, weights="random")
NOTHING_NEW = Effort(trials=0)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """A model after its passes."""
    clock = Clock(Recorder())
    return prepare(load(CompileRequest(MODEL), clock), clock)


def product_of(prepared: Prepared) -> Task:
    """The matrix product with the most to do."""
    tasks = tasks_of(prepared.program, prepared.loaded.target)
    products = [task for task in tasks if type(task.kernel).__name__ == "Gemm" and task.kernel.rows > 1]
    return max(products, key=lambda task: task.macs)


def confirmed(task: Task, choice: dict[str, int], ratio: float = 0.5) -> Trial:
    """A trial of `choice` as if it had been measured and confirmed."""
    return Trial(task.workload, choice, "measured", 100 * ratio, 100.0, ROUNDS)


def record(prepared: Prepared, path: Path, choice: dict[str, int]) -> None:
    """Enter `choice` for that product."""
    task = product_of(prepared)
    trial = confirmed(task, choice)
    with open_store(path, pytest.fail) as store:
        store.add(task.description, circumstances_of(prepared.loaded.target, 0), [trial])


def test_what_is_slower_in_the_model_is_given_up(prepared: Prepared, store_path: Path) -> None:
    record(prepared, store_path, {"rows": 1, "vectors": 1, "groups": 1, "step": 1})
    reporter = Recorder()
    tuned = tune_model(CompileRequest(MODEL), NOTHING_NEW, store_path, reporter, lambda searches: None)
    assert reporter.stages[-2:] == ["tune", "compare"]
    (search,) = [search for search in tuned.searches if search.trials]
    (trial,) = search.trials.values()
    assert trial.ratio > 1
    assert search.best is None
    with open_store(store_path, pytest.fail) as kept:
        assert kept.trials(trial.workload, circumstances_of(tuned.target, 0)) == [trial]


@pytest.mark.parametrize(("runs", "is_kept"), [((110, 111), False), ((110, 99), True), ((100,), True)])
def test_a_tuned_model_is_not_slower_as_a_whole(
    runs: tuple[int, ...],
    is_kept: bool,
    prepared: Prepared,
    store_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no layer is to blame, nothing that was found is used; but once may be chance."""
    record(prepared, store_path, {"rows": 2, "vectors": 1, "groups": 1, "step": 1})
    times = iter([(Times(100, {}), Times(run, {})) for run in runs])
    monkeypatch.setattr("lwc.tuning.time_in_turns", lambda programs, run: next(times))
    tuned = tune_model(CompileRequest(MODEL), NOTHING_NEW, store_path, Recorder(), lambda searches: None)
    (search,) = [search for search in tuned.searches if search.trials]
    assert (search.best is not None) == is_kept
    assert (tuned.tuned == Times(runs[-1], {})) == is_kept
    assert next(times, None) is None


def test_compiling_takes_what_was_found(prepared: Prepared, store_path: Path, tmp_path: Path) -> None:
    record(prepared, store_path, {"rows": 2, "vectors": 1, "groups": 1, "step": 1})
    task = product_of(prepared)
    with_records = compile_package(CompileRequest(MODEL, output=tmp_path / "tuned"), Recorder())
    assert with_records.manifest.tuned_layers == task.layers
    without = compile_package(CompileRequest(MODEL, output=tmp_path / "plain", tune="none"), Recorder())
    assert without.manifest.tuned_layers == ()


@pytest.mark.parametrize(
    ("choice", "ratio"),
    [
        ({"rows": 2, "vectors": 1, "groups": 1, "step": 1}, 0.99),
        ({"rows": 2, "vectors": 1, "groups": 1}, 0.5),
        ({"rows": 2**31, "vectors": 1, "groups": 1, "step": 1}, 0.5),
    ],
    ids=["hardly faster", "of another space", "impossible"],
)
def test_a_record_that_does_not_fit_is_left_out(
    choice: dict[str, int], ratio: float, prepared: Prepared
) -> None:
    task, target = product_of(prepared), prepared.loaded.target
    chosen = Chosen(prepared.program, target, {task.workload: confirmed(task, choice, ratio)})
    lower(prepared.program, target, chosen)
    assert chosen.layers == []


def test_only_what_runs_here_can_be_tuned(store_path: Path) -> None:
    other = "arm64" if resolve_target("native").architecture == "x86_64" else "x86-64-v3"
    with pytest.raises(UnsupportedError, match=f"{other!r}: its kernels cannot be timed"):
        tune_model(CompileRequest(MODEL, other), NOTHING_NEW, store_path, Recorder(), lambda searches: None)
    with pytest.raises(UnsupportedError, match=f"{other!r}: its kernels cannot be timed"):
        compile_package(CompileRequest(MODEL, other, tune="quick"), Recorder())
    assert not store_path.exists()
