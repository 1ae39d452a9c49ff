"""The search as a whole: what goes wrong with a candidate costs that candidate alone, and nothing measured is lost."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lwc.errors import ResourceError
from lwc.tune.bench import Batch, Bench
from lwc.tune.circumstances import ROUNDS, circumstances_of
from lwc.tune.effort import Effort
from lwc.tune.measure import Measured, Outcome, Wrong
from lwc.tune.progress import Search, is_usable
from lwc.tune.records import Trial, canonical_json
from lwc.tune.store import open_store
from lwc.tune.tasks import Task
from lwc.tune.trials import Refusal
from lwc.tune.tuner import Tuner
from lwc.tune.workers import Workers
from tests.tune.layers import LOCAL, TARGET, TOOLCHAIN, product_task
from tests.tune.planted_worker import FAULTS_BY_GROUPS, fault_of

pytestmark = pytest.mark.slow

PLANTED = (sys.executable, str(Path(__file__).with_name("planted_worker.py")))
CIRCUMSTANCES = circumstances_of(TARGET, 2)


def refuse(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture
def task(rng: torch.Generator) -> Task:
    """A matrix product with many row tiles, so that every fault can be planted."""
    return product_task(rng)


def test_each_fault_is_the_candidates_own(task: Task, tmp_path: Path, seed: int) -> None:
    choices = tuple({"rows": 4, "vectors": 1, "groups": groups, "step": 1} for groups in FAULTS_BY_GROUPS)
    sound = {"rows": 7, "vectors": 1, "groups": 24, "step": 1}
    with Workers(2, PLANTED, seconds=15) as workers:
        bench = Bench(TARGET, TOOLCHAIN, 2, workers, LOCAL, tmp_path, seed, seconds=5)
        (found,) = bench.try_each([Batch(task.call, (*choices, sound))], checked=True)
    assert isinstance(found, list), found
    *faulty, good = found
    outcomes = dict(zip(FAULTS_BY_GROUPS.values(), faulty, strict=True))
    assert isinstance(good, Measured)
    assert isinstance(outcomes.pop("wrong and fast"), Wrong)
    reasons = {fault: refused(outcome) for fault, outcome in outcomes.items()}
    assert "a planted error" in reasons["raises"]
    assert "MemoryError" in reasons["takes 64 GB"]
    assert reasons["dies"].endswith("by signal 6")
    assert reasons["hangs"] == "was not built within 15 s"
    assert "signal 11" in reasons["crashes"]
    assert reasons["runs for ever"] == "did not end within 5 s"
    assert reasons["prints nonsense"] == "the program printed no errors"
    assert not any(tmp_path.glob("tmp*")), "files of trials are left"


def refused(outcome: Outcome) -> str:
    assert isinstance(outcome, Refusal), outcome
    return outcome.reason


def test_a_search_with_faults_ends_well(task: Task, tmp_path: Path, seed: int) -> None:
    with (
        Workers(2, PLANTED, seconds=10) as workers,
        open_store(tmp_path / "store.sqlite", refuse) as store,
    ):
        bench = Bench(TARGET, TOOLCHAIN, 2, workers, LOCAL, tmp_path, seed, seconds=5)
        (search,) = Tuner(bench, store, CIRCUMSTANCES, lambda searches: None).tune([task], Effort(21))
        kept = store.trials(task.workload, CIRCUMSTANCES)
    assert len(kept) >= 21
    assert {canonical_json(trial.choice): trial for trial in kept} == search.trials
    faulty = [trial for trial in kept if fault_of(trial.choice)]
    assert faulty, "no fault was drawn"
    assert not any(map(is_usable, faulty))
    assert all(trial.outcome in ("measured", "wrong", "failed") for trial in kept)
    assert any(trial.outcome == "measured" for trial in kept if not fault_of(trial.choice))


def test_a_search_goes_on_from_the_store(task: Task, tmp_path: Path, seed: int) -> None:
    seen: list[int] = []

    def watch(searches: Sequence[Search]) -> None:
        seen.append(sum(len(search.trials) for search in searches))

    def run(trials: int, resume: bool = True) -> dict[str, Trial]:
        with Workers(2) as workers, open_store(tmp_path / "store.sqlite", refuse) as store:
            bench = Bench(TARGET, TOOLCHAIN, 2, workers, LOCAL, tmp_path, seed)
            effort = Effort(trials, resume=resume)
            (search,) = Tuner(bench, store, CIRCUMSTANCES, watch).tune([task], effort)
            return search.trials

    first = run(7)
    assert (seen[0], len(first)) == (0, 7)
    seen.clear()
    second = run(14)
    assert (seen[0], len(second)) == (7, 14)
    assert first.keys() < second.keys()
    seen.clear()
    again = run(7, resume=False)
    assert (seen[0], len(again)) == (0, 7)


def test_only_what_was_confirmed_is_used(task: Task) -> None:
    def trial(ratio: float, rounds: int) -> Trial:
        return Trial(task.workload, {"groups": rounds}, "measured", 100 * ratio, 100.0, rounds)

    search = Search(task)
    search.take(trial(0.5, 1))
    assert search.best is None
    assert search.finalists() == ({"groups": 1},)
    search.take(trial(0.9, ROUNDS))
    assert search.best == trial(0.9, ROUNDS)
    assert search.gain == pytest.approx(10.0)
    search.take(trial(0.99, 2 * ROUNDS))
    assert search.best == trial(0.9, ROUNDS), "one that is hardly faster is not worth it"


def test_a_process_that_cannot_begin_is_no_candidates_fault(task: Task, tmp_path: Path, seed: int) -> None:
    with (
        Workers(2, (sys.executable, "-c", "raise SystemExit(7)")) as workers,
        open_store(tmp_path / "store.sqlite", refuse) as store,
    ):
        tuner = Tuner(
            Bench(TARGET, TOOLCHAIN, 2, workers, LOCAL, tmp_path, seed),
            store,
            CIRCUMSTANCES,
            lambda searches: None,
        )
        with pytest.raises(ResourceError, match="ended before it began, with exit code 7; see what"):
            tuner.tune([task], Effort(7))
        assert store.trials(task.workload, CIRCUMSTANCES) == []


def test_a_planned_kernel_that_cannot_be_tried_is_no_candidates_fault(
    task: Task, tmp_path: Path, seed: int
) -> None:
    broken = replace(task, call=replace(task.call, operator="nothing"))
    with Workers(1) as workers, open_store(tmp_path / "store.sqlite", refuse) as store:
        bench = Bench(TARGET, TOOLCHAIN, 2, workers, LOCAL, tmp_path, seed)
        (search,) = Tuner(bench, store, CIRCUMSTANCES, lambda searches: None).tune([broken], Effort(7))
        assert store.trials(task.workload, CIRCUMSTANCES) == []
    assert "nothing" in search.fault
    assert search.exhausted


def test_records_of_another_space_are_left_alone(task: Task, tmp_path: Path, seed: int) -> None:
    others = [{"rows": 10**6, "vectors": 1, "groups": 1, "step": 1}, {"rows": 2}, {"another": 1}]
    trials = [Trial(task.workload, choice, "measured", 1.0, 100.0, ROUNDS) for choice in others]
    with Workers(1) as workers, open_store(tmp_path / "store.sqlite", refuse) as store:
        store.add(task.description, CIRCUMSTANCES, trials)
        bench = Bench(TARGET, TOOLCHAIN, 2, workers, LOCAL, tmp_path, seed)
        (search,) = Tuner(bench, store, CIRCUMSTANCES, lambda searches: None).tune([task], Effort(3))
    assert len(search.trials) == 3
    assert search.best not in trials


def test_time_limits_the_search(task: Task, tmp_path: Path, seed: int) -> None:
    with Workers(2) as workers, open_store(tmp_path / "store.sqlite", refuse) as store:
        bench = Bench(TARGET, TOOLCHAIN, 2, workers, LOCAL, tmp_path, seed)
        (search,) = Tuner(bench, store, CIRCUMSTANCES, lambda searches: None).tune(
            [task], Effort(10**6, 1e-9)
        )
    assert not search.trials
