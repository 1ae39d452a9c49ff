"""What `lwc tune` shows while it searches, and what it says of what was found."""

import io
import json
import re
from pathlib import Path

import pytest

from lwc.cli.progress import PlainConsole
from lwc.cli.tune_progress import TuneReporter
from lwc.cli.tune_report import tuned_document, tuned_text
from lwc.profile.peak import Peak
from lwc.targets.resolve import resolve_target
from lwc.tune.effort import Effort
from lwc.tuning import Tuned
from tests.cli.searches import TUNED, QuantizedGemm, made_up, searched
from tests.tune.made import kernel, measured


def test_the_kernels_and_the_model_before_and_after() -> None:
    text = tuned_text(TUNED)
    assert [" ".join(line.split()) for line in text.splitlines()[:5]] == [
        "kernel layers first layer trials before us after us ratio confirmed",
        "gemm 2 head 2 100.0 80.0 0.80 5 rounds",
        "gemm 1 ...of.a.layer.that.nobody.wants.to.read 2 100.0 slower in the model",
        "gemm 1 stem 3 100.0",
        "gemm 1 last 0",
    ]
    assert "1000.0 us -> 960.0 us, ratio 0.96" in text


def test_the_document_has_all_of_it() -> None:
    document = tuned_document(TUNED, "mobilenet_v1", Path("store"), Effort(21, 480.0))
    kernels = document.pop("kernels")
    assert document == {
        "model": "mobilenet_v1",
        "target": "arm64",
        "store": "store",
        "trials": 21,
        "seconds": 480.0,
        "before_us": 1000.0,
        "after_us": 960.0,
    }
    assert kernels[0] == {
        "kernel": "gemm",
        "workload": TUNED.searches[0].task.workload,
        "layers": ["head", "tail"],
        "macs": 10_000_000,
        "trials": 2,
        "wrong": 0,
        "failed": 0,
        "exhausted": False,
        "planned_us": 100.0,
        "before_us": 100.0,
        "after_us": 80.0,
        "rounds": 5,
        "choice": {"rows": 4},
        "gain_us": pytest.approx(40.0),
    }
    assert (kernels[2]["trials"], kernels[2]["wrong"], kernels[2]["failed"]) == (3, 1, 1)
    assert [entry["after_us"] for entry in kernels] == [80.0, None, None, None]
    assert kernels[3]["planned_us"] is None


def test_where_nothing_is_faster() -> None:
    tuned = Tuned(resolve_target("arm64"), made_up()[1:])
    assert "no kernel was found that is faster" in tuned_text(tuned)
    document = tuned_document(tuned, "mobilenet_v1", Path("store"), Effort(21))
    assert (document["before_us"], document["after_us"], document["seconds"]) == (None, None, None)
    # Infinity, for what was not measured, would be no JSON.
    assert "Infinity" not in json.dumps(document)


def test_where_there_is_nothing_to_tune() -> None:
    assert (
        tuned_text(Tuned(resolve_target("arm64"), [])) == "none of the model's kernels leaves anything open"
    )


PEAK = Peak(flops=400e9, int8_ops=800e9, bytes=1e9)


def shown(monkeypatch: pytest.MonkeyPatch, terminal: bool, pause: float = 10.0) -> str:
    """What is written in the stage `tune` of a search of at most 90 s."""
    monkeypatch.setattr("lwc.cli.tune_progress._PAUSE", pause)
    monkeypatch.setenv("COLUMNS", "150")
    stream = io.StringIO()
    reporter = TuneReporter(PlainConsole(stream, terminal), 90.0, PEAK)
    one = kernel(9)
    integers = searched(one, ("\x1b[2Jhostile",), measured(one, 1.5, 1), kind=QuantizedGemm())
    with reporter.stage("tune"):
        reporter.watch([*made_up(), integers])
    return stream.getvalue()


def test_a_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(monkeypatch, terminal=True))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any(re.fullmatch(r"tune 8 trials, 40\.0 us gained, \d:\d\d of 1:30", line) for line in lines)
    # 2 * 10^7 operations in 80 us are 250 GFLOP/s; in 100 us 200.
    assert "gemm 2 head 2 100.0 0.80 250 62% 40.0" in lines
    assert "gemm 1 stem 3 100.0 1.00 200 50% 0.0" in lines
    assert r"quantizedgemm 1 \x1b[2Jhostile 1 100.0 1.00 200 25% 0.0" in lines
    assert "gemm 1 last 0" in lines


def test_a_line_now_and_then_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    often = shown(monkeypatch, terminal=False, pause=0.0)
    assert re.fullmatch(r"tune +8 trials, 40\.0 us gained, \d:\d\d of 1:30\ntune +\d+\.\d s\n", often)
    assert re.fullmatch(r"tune +\d+\.\d s\n", shown(monkeypatch, terminal=False, pause=1000.0))
