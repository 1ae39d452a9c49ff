"""Engines in turn: what one of them does to itself touches none of the others."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lwc.bench import contest
from lwc.bench.contest import Entrant, hold
from lwc.bench.engines import Engine
from lwc.bench.machine import Machine
from lwc.bench.results import Result, best_peer, summarize
from lwc.bench.run import BenchOptions
from lwc.bench.task import Array, Task
from lwc.cli.bench_report import results_document
from lwc.models.request import ModelRequest

X = np.linspace(-1, 1, 32, dtype=np.float32)
Hold = Callable[..., list[Entrant]]


def fake(name: str) -> Engine:
    return Engine(f"tests.bench.fakes.{name}", "numpy", ())


@pytest.fixture
def held(tmp_path: Path) -> Hold:
    """Holds a contest of the fakes that are named."""

    def run(*names: str, rounds: int = 2, repeat: int = 3) -> list[Entrant]:
        task = Task(ModelRequest("none"), tmp_path, 1)
        task.store_arrays([X])
        return hold(task, {name: fake(name) for name in names}, rounds, repeat, lambda text: None)

    return run


def test_each_engine_gets_its_rounds(held: Hold) -> None:
    (entrant,) = held("right", rounds=3, repeat=4)
    assert [len(times) for times in entrant.rounds] == [4, 4, 4]
    assert min(min(times) for times in entrant.rounds) > 0
    assert entrant.version == np.__version__


def test_an_engine_that_fails_says_why_and_the_others_go_on(held: Hold) -> None:
    failed, right = held("raises", "right")
    assert failed.failure == "ValueError: operator foo is not known"
    assert len(right.rounds) == 2


def test_an_engine_that_crashes_while_it_is_measured_costs_only_itself(held: Hold) -> None:
    crashed, right = held("crashes", "right")
    assert crashed.failure == "its process ended with exit code -6"
    assert len(right.rounds) == 2


def test_an_engine_that_ends_between_its_turns_costs_only_itself(held: Hold) -> None:
    left, _, right = held("leaves", "raises", "right", rounds=8)
    assert left.failure == "its process ended with exit code 3"
    assert len(right.rounds) == 8


def test_an_engine_that_hangs_is_ended(held: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "PREPARE_SECONDS", 5)
    hanging, right = held("hangs", "right")
    assert hanging.failure == "gave no answer in 5 s"
    assert not hanging.process.is_alive()
    assert right.failure is None


def test_what_engines_print_goes_to_a_log(
    held: Hold, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    held("raises")
    assert capfd.readouterr() == ("", "")
    assert "more than anyone wants to read" in (tmp_path / "raises.log").read_text()


def test_wrong_outputs_do_not_count(held: Hold) -> None:
    results = summarize(held("right", "wrong"), [2 * X.astype(np.float64)])
    assert [result.failure for result in results] == [None, "its outputs are not the model's"]
    best = best_peer(results)
    assert best is not None
    assert best.engine == "right"


def entrant(name: str, *rounds: list[float], output: Array = X) -> Entrant:
    made = Entrant(name, None, None, outputs=[output], rounds=list(rounds))  # type: ignore[arg-type]
    return made


def test_the_ratio_is_of_rounds_that_were_side_by_side() -> None:
    """A machine that gets twice as slow meanwhile changes both medians, not their ratio."""
    results = summarize(
        [entrant("lwc", [1, 1, 1], [2, 2, 2], [4, 4, 4]), entrant("other", [2, 2, 2], [4, 4, 4], [8, 8, 8])],
        [X],
    )
    assert [result.ratio for result in results] == [1, 0.5]
    assert [result.median for result in results] == [2, 4]


@pytest.mark.parametrize("output", [X[:3], np.full_like(X, np.nan), X + 1])
def test_outputs_that_cannot_be_the_models(output: Array) -> None:
    (result,) = summarize([entrant("other", [1.0], output=output)], [X])
    assert result.failure == "its outputs are not the model's"
    assert result.error is None or result.error > 1e-4


def test_there_is_no_ratio_to_an_lwc_that_is_wrong() -> None:
    results = summarize([entrant("lwc", [1.0], output=X + 1), entrant("other", [2.0])], [X])
    assert [result.ratio for result in results] == [None, None]


def test_what_cannot_be_compared_is_json() -> None:
    results = summarize([entrant("lwc", [1.0]), entrant("other", [2.0], output=X[:3])], [X])
    machine = Machine("a processor", "x86-64-v4", 2, 1, "2026-11-25")
    options = BenchOptions(("lwc", "other"), 1, 1, 1)
    document = results_document([(ModelRequest("net"), results)], machine, options)
    (model,) = json.loads(json.dumps(document, allow_nan=False))["models"]
    assert (model["model"], model["best"], model["engines"][1]["error"]) == ("net", None, None)


def test_there_is_no_best_engine_where_all_fail() -> None:
    assert best_peer([Result("lwc", "1", median=1.0), Result("other", "1", failure="crashed")]) is None
