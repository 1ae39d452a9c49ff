"""`lwc tune` and `lwc compile` in earnest, on a network of two layers."""

import json
import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lwc.compile_request import CompileRequest
from lwc.driver import compile_package
from lwc.models.request import ModelRequest
from lwc.package.verify import verify_package
from lwc.tune.effort import EFFORTS, Effort
from lwc.tune.records import Record
from lwc.tune.store import open_store
from tests.cli.conftest import Lwc
from tests.compiled.support import Recorder
from tests.programs import random_inputs, randomize
from tests.tune.made import no_warning

pytestmark = pytest.mark.slow

MODEL = "models_of_the_test:net"
TRIALS = 7


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch, rng: torch.Generator) -> None:
    """Makes MODEL a convolution and a linear layer with random parameters."""
    layers = nn.Sequential(nn.Conv2d(8, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 100, 24))
    randomize(layers, rng)
    inputs = random_inputs(((1, 8, 12, 12),), rng)
    holder = types.ModuleType("models_of_the_test")
    holder.net = lambda: (layers, inputs)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, holder.__name__, holder)


def pretend_one_was_faster(store_path: Path) -> list[str]:
    """Make every kernel's first measured choice one that was confirmed; gives their workloads."""
    with open_store(store_path, no_warning) as opened:
        first: dict[str, Record] = {}
        for record in opened.records():
            if record.trial.outcome == "measured":
                first.setdefault(record.trial.workload, record)
        for record in first.values():
            faster = replace(record.trial, microseconds=1.0, default_microseconds=2.0, rounds=1000)
            opened.add(record.description, record.circumstances, [faster])
    return list(first)


@pytest.mark.usefixtures("net")
def test_what_is_tuned_is_compiled(lwc: Lwc, store_path: Path, tmp_path: Path) -> None:
    done = lwc("tune", MODEL, "--trials", TRIALS, "--json")
    assert done.code == 0, done.err
    kernels = json.loads(done.out)["kernels"]
    assert [kernel["layers"] for kernel in kernels] == [["0"], ["3"]]
    assert all(kernel["trials"] == TRIALS or kernel["exhausted"] for kernel in kernels)

    # Which choices are faster is for the machine to say: here all kernels are to have one.
    workloads = pretend_one_was_faster(store_path)
    assert sorted(workloads) == sorted(kernel["workload"] for kernel in kernels)
    done = lwc("compile", MODEL, "-o", tmp_path / "tuned", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["tuned_layers"] == ["0", "3"]
    verify_package(tmp_path / "tuned")

    done = lwc("compile", MODEL, "-o", tmp_path / "planned", "--tune", "none", "--json")
    assert json.loads(done.out)["tuned_layers"] == []
    done = lwc("compile", MODEL, "-o", tmp_path / "other", "--threads", "1", "--json")
    assert json.loads(done.out)["tuned_layers"] == []


@pytest.mark.usefixtures("net")
def test_compiling_tells_how_far_its_tuning_is(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EFFORTS, "quick", Effort(TRIALS))
    reporter = Recorder()
    compile_package(CompileRequest(ModelRequest(MODEL), output=tmp_path / "net", tune="quick"), reporter)
    assert reporter.notes[0] == "0 trials, 0.0 us gained"
    assert re.fullmatch(r"[1-9]\d* trials, \d+\.\d us gained", reporter.notes[-1])
    assert reporter.stages.index("passes") < reporter.stages.index("tune") < reporter.stages.index("lower")
    assert store_path.exists()
