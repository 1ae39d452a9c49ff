"""`lwc bench` end to end, against PyTorch, which is always there."""

import json
from pathlib import Path

import pytest

from tests.compiled.test_cli import command

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


def test_two_engines(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = command("bench", *SMALL, "--against", "torch", "--threads", 1, "--json", figures)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    (model,) = found["models"]
    ours, theirs = model["engines"]
    assert (ours["engine"], theirs["engine"]) == ("lwc", "torch")
    assert (ours["failure"], theirs["failure"]) == (None, None)
    assert ours["ratio"] == 1
    assert 0 < theirs["minimum"] <= theirs["median"] <= theirs["p90"]
    assert max(ours["error"], theirs["error"]) < 1e-5
    assert (model["best"], found["machine"]["threads"]) == ("torch", 1)
    assert f"{model['ratio_to_best']:.2f} of the best other engine, torch" in done.stdout


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Every import of it fails.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ncnn'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = command("bench", *SMALL, "--against", "ncnn", "--json", "-")
    assert done.returncode == 0, done.stderr
    (model,) = json.loads(done.stdout)["models"]
    assert model["engines"][1]["failure"].startswith("not installed: ncnn")
    assert model["best"] is None


def test_int8_names_the_engines_that_take_no_part(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = command("bench", *SMALL, "--precision", "int8", "--against", "torch", "--json", figures)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    ours, theirs = found["models"][0]["engines"]
    assert found["precision"] == "int8"
    # A network of random weights is off by more than float32 is, and by less than another network.
    assert 1e-3 < ours["error"] < 0.7
    assert theirs["failure"] == "lwc bench has no way to quantize a model for it"
