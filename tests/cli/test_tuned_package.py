"""`lwc tune` and `lwc compile` in earnest, on a network of two layers."""

import json
import re
import subprocess
import sys
import tarfile
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lwc.compile_request import CompileRequest
from lwc.driver import compile_package
from lwc.models.request import ModelRequest
from lwc.package.manifest import read_manifest
from lwc.package.verify import verify_package
from lwc.targets.resolve import resolve_target
from lwc.tune.bundle import Bundle
from lwc.tune.circumstances import ROUNDS, circumstances_of
from lwc.tune.effort import EFFORTS, Effort
from lwc.tune.records import Record, canonical_json, workload_of
from lwc.tune.store import open_store
from tests.cli.conftest import Lwc
from tests.compiled.support import Recorder
from tests.programs import random_inputs, randomize
from tests.tune.board import QEMU
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


@pytest.mark.usefixtures("net")
def test_a_board_tunes_what_is_compiled_here(
    lwc: Lwc, board_url: str, store_path: Path, tmp_path: Path
) -> None:
    options = ("--target", "arm64", "--threads", 2)
    done = lwc("tune", MODEL, *options, "--device", board_url, "--run-with", QEMU, "--trials", 2, "--json")
    assert done.code == 0, done.err
    assert [kernel["trials"] for kernel in json.loads(done.out)["kernels"]] == [2, 2]
    workloads = pretend_one_was_faster(store_path)
    done = lwc("compile", MODEL, *options, "--output", tmp_path / "package")
    assert done.code == 0, done.err
    assert len(read_manifest(tmp_path / "package").tuned_layers) == len(workloads) > 0


@pytest.mark.usefixtures("net")
def test_a_bundle_is_run_by_hand(lwc: Lwc, store_path: Path, tmp_path: Path) -> None:
    archive = tmp_path / "trials.tar"
    done = lwc("tune", "bundle", MODEL, "--trials", 4, "-o", archive, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["choices"], said["programs"], said["failures"]) == (8, 4, [])
    assert not store_path.exists()

    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    script = tmp_path / "lwc-tune" / "run.sh"
    subprocess.run(["/bin/sh", script, "nice", "-n", "0"], check=True, timeout=300)
    results = script.with_name("results.json")

    assert "8 trials taken over, 0 own ones" in lwc("tune", "import", results).out
    with open_store(store_path, no_warning) as opened_store:
        records = opened_store.records()
    outcomes = {record.trial.outcome for record in records}
    assert outcomes == {"measured"}, [record.trial for record in records]
    assert {record.trial.rounds for record in records} == {ROUNDS}
    assert {record.circumstances for record in records} == {circumstances_of(resolve_target("native"), 0)}
    # What is known now is not tried again.
    known = {(record.trial.workload, canonical_json(record.trial.choice)) for record in records}
    assert lwc("tune", "bundle", MODEL, "--trials", 4, "-o", archive).code == 0
    with tarfile.open(archive) as opened:
        file = opened.extractfile("lwc-tune/bundle.json")
        assert file is not None
        described = Bundle.model_validate_json(file.read())
    proposed = {
        (workload_of(program.description), canonical_json(choice))
        for program in described.programs
        for choice in program.choices
    }
    assert proposed
    assert not proposed & known
