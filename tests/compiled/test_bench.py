"""`lwc bench` end to end, against PyTorch, which is always there."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from lwc.cli.main import run

pytestmark = pytest.mark.slow

SMALL = (
    "mobilenet_v1",
    "--weights",
    "random",
    "--width",
    0.25,
    "--image-size",
    64,
    "--rounds",
    2,
    "--repeat",
    2,
)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring ranges takes most of the time."""
    monkeypatch.setattr("lwc.quantize.data._MADE", 8)


def figures_of(folder: Path, *options: object) -> dict[str, Any]:
    """What `lwc bench` writes; the engines run in processes of their own."""
    figures = folder / "figures.json"
    assert run([str(word) for word in ("bench", *SMALL, *options, "--json", figures)]) == 0
    found: dict[str, Any] = json.loads(figures.read_text())
    return found


def test_engines_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Every import of it fails.
    monkeypatch.setitem(sys.modules, "ncnn", None)
    found = figures_of(tmp_path, "--against", "torch,ncnn", "--threads", 1)
    (model,) = found["models"]
    ours, theirs, missing = model["engines"]
    assert (ours["engine"], theirs["engine"]) == ("lwc", "torch")
    assert (ours["failure"], theirs["failure"]) == (None, None)
    assert ours["ratio"] == 1
    assert 0 < theirs["minimum"] <= theirs["median"] <= theirs["p90"]
    assert max(ours["error"], theirs["error"]) < 1e-5
    assert missing["failure"].startswith("not installed: ncnn")
    assert (model["best"], found["machine"]["threads"]) == ("torch", 1)
    assert f"{model['ratio_to_best']:.2f} of the best other engine, torch" in capfd.readouterr().out


def test_int8_names_the_engines_that_take_no_part(tmp_path: Path) -> None:
    found = figures_of(tmp_path, "--precision", "int8", "--against", "torch")
    (model,) = found["models"]
    ours, theirs = model["engines"]
    assert found["precision"] == "int8"
    # A network of random weights is off by more than float32 is, and by less than another network.
    assert 1e-3 < ours["error"] < 0.7
    assert theirs["failure"] == "lwc bench has no way to quantize a model for it"
    assert model["best"] is None
