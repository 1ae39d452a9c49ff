"""`--prune`: the package gives what the pruned model gives, is smaller, and says what it costs."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lwc
from lwc.errors import LwcError, VerificationError
from lwc.models.preprocess import preprocess_image
from lwc.package.manifest import read_manifest
from lwc.package.verify import verify_package
from lwc.rewriting import PassOptions
from tests.compiled.support import Recorder, compile_module, compile_to
from tests.test_pruning import with_defect

pytestmark = pytest.mark.slow

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SMALL: dict[str, Any] = {"width": 0.25, "image_size": 64, "num_labels": 10}


@pytest.mark.parametrize("model", ["mobilenet_v1", "mobilenet_v2"])
@pytest.mark.parametrize("target", ["native", "arm64"])
def test_a_pruned_package_is_verified_and_smaller(model: str, target: str, tmp_path: Path) -> None:
    options = SMALL | ({"width": 0.5} if model == "mobilenet_v2" else {})
    whole = compile_to(tmp_path / "whole", model, target, **options).manifest
    pruned = compile_to(tmp_path / "pruned", model, target, prune=0.5, **options).manifest
    assert pruned.pruning is not None
    assert pruned.pruning.fraction == 0.5
    assert pruned.parameters < 0.7 * whole.parameters
    assert pruned.macs < 0.7 * whole.macs
    assert whole.macs - pruned.macs == pruned.pruning.removed_macs
    assert pruned.weights_bytes < 0.7 * whole.weights_bytes
    assert pruned.verification.how != "not run"
    assert all(check.deviation > 1000 * check.rms_limit for check in pruned.verification.outputs)
    verify_package(tmp_path / "pruned")
    assert read_manifest(tmp_path / "pruned") == pruned
    old, new = (np.load(tmp_path / name / "expected_output.npy") for name in ("whole", "pruned"))
    assert np.abs(new - old).max() > 0.01


def test_python_compiles_a_pruned_package(tmp_path: Path) -> None:
    result = lwc.compile("mobilenet_v1", "native", tmp_path / "out", weights="random", prune=0.5, **SMALL)
    assert result.manifest.pruning is not None
    assert "Pruned by magnitude, 0.5 of the channels at most" in (tmp_path / "out/mobilenet_v1.h").read_text()


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_wrong_pass_never_gives_a_package(
    place: str, verify: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = PassOptions(with_defect(place), verify=verify, prune=0.5)
    monkeypatch.setattr("tests.compiled.support.PassOptions", lambda *_, **__: options)
    with pytest.raises(VerificationError, match="changes the result" if verify else "differs from PyTorch"):
        compile_to(tmp_path / "out", "mobilenet_v1", **SMALL)
    assert not (tmp_path / "out").exists()


def test_where_nothing_can_go_the_user_is_told(tmp_path: Path) -> None:
    reporter = Recorder()
    result = compile_module(
        tmp_path / "net", nn.Linear(4, 3), (torch.ones(2, 4),), reporter=reporter, prune=0.5
    )
    assert result.manifest.pruning is not None
    assert result.manifest.pruning.removed_parameters == 0
    assert reporter.warnings == ["nothing was pruned; `lwc explain` with --pass zero-channels says why"]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Twelve of the labelled images."""
    source = DATA / "imagenet_sample" / "evaluation"
    if not (source / "labels.csv").is_file():
        pytest.skip("no images: ../shared/data/imagenet_sample does not exist")
    folder = tmp_path / "labelled"
    folder.mkdir()
    lines = (source / "labels.csv").read_text().splitlines()[:13]
    (folder / "labels.csv").write_text("\n".join(lines))
    for line in lines[1:]:
        shutil.copy(source / line.split(",")[0], folder)
    return folder


@pytest.fixture
def weights() -> Path:
    """A MobileNetV1 with its ImageNet weights."""
    folder = DATA / "mobilenet_v1_0.25_128"
    if not folder.is_dir():
        pytest.skip("no weights: ../shared/data/mobilenet_v1_0.25_128 does not exist")
    return folder


def test_the_accuracy_is_that_of_the_package(labelled: Path, weights: Path, tmp_path: Path) -> None:
    reporter = Recorder()
    result = compile_to(
        tmp_path / "out", str(weights), weights="auto", prune=0.1, evaluate=labelled, reporter=reporter
    )
    assert "evaluate" in reporter.stages
    assert reporter.notes[-1] == "12 of 12 images"
    assert result.evaluation is not None
    assert result.evaluation.pruned is not None
    model, how = lwc.load(result.package), result.manifest.preprocessing
    assert how is not None
    rows = [line.split(",") for line in (labelled / "labels.csv").read_text().splitlines()[1:]]
    right = [int(np.argmax(model(preprocess_image(labelled / row[0], how)))) == int(row[1]) for row in rows]
    assert result.evaluation.pruned.top1 == sum(right)
    assert result.evaluation.original.images == 12
    assert result.evaluation.original.top1 >= result.evaluation.pruned.top1


def test_without_pruning_the_model_is_evaluated_as_it_is(
    labelled: Path, weights: Path, tmp_path: Path
) -> None:
    result = compile_to(tmp_path / "out", str(weights), weights="auto", evaluate=labelled)
    assert result.evaluation is not None
    assert result.evaluation.pruned is None
    assert result.evaluation.original.top1 >= 3


def test_a_damaged_image_leaves_nothing_behind(labelled: Path, weights: Path, tmp_path: Path) -> None:
    (name,) = (line.split(",")[0] for line in (labelled / "labels.csv").read_text().splitlines()[12:13])
    (labelled / name).write_bytes((labelled / name).read_bytes()[:500])
    with pytest.raises(LwcError, match=rf"{name}: is damaged") as caught:
        compile_to(tmp_path / "out", str(weights), weights="auto", evaluate=labelled)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()
