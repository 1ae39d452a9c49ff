"""`--accuracy-budget` from the model to the package: timed on this machine, verified, or not there at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lwc
from lwc.accuracy_budget import Budget
from lwc.driver import CompileResult
from lwc.errors import VerificationError
from lwc.models.load import load_model
from lwc.models.preprocess import preprocess_image
from lwc.models.request import ModelRequest
from lwc.package.manifest import read_manifest
from lwc.package.verify import verify_package

pytestmark = pytest.mark.slow

COUNT, SIZE = 30, 64
SMALL = ModelRequest("mobilenet_v1", 0.25, SIZE, num_labels=10, weights="random")


@pytest.fixture
def images(tmp_path: Path, rng: torch.Generator) -> Path:
    """A folder of images, labelled as a MobileNetV1 with random weights classifies them."""
    folder = tmp_path / "images"
    folder.mkdir()
    model = load_model(SMALL, lambda warning: None)
    assert model.preprocessing is not None
    lines = ["file,label"]
    for number in range(COUNT):
        path = folder / f"{number}.png"
        pixels = torch.rand((4, 4, 3), generator=rng).numpy() * 255
        Image.fromarray(pixels.astype(np.uint8)).resize((SIZE, SIZE)).save(path)
        with torch.no_grad():
            logits = model.module(torch.from_numpy(preprocess_image(path, model.preprocessing)))
        lines.append(f"{path.name},{int(logits.argmax())}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def compile_within(budget: float, images: Path, target: str, output: Path) -> CompileResult:
    return lwc.compile(
        SMALL.model,
        target,
        output,
        width=SMALL.width,
        image_size=SIZE,
        num_labels=SMALL.num_labels,
        weights="random",
        evaluate=images,
        precision="int8",
        calibrate=images,
        accuracy_budget=budget,
    )


def test_a_package_within_the_budget(images: Path, tmp_path: Path) -> None:
    """Random weights make much of rounding: where it changes no class, nothing goes back but for speed."""
    result = compile_within(0, images, "native", tmp_path / "package")
    said = result.manifest.quantization
    assert said is not None
    budget = said.accuracy_budget
    assert budget is not None
    print(budget)
    assert result.evaluation is not None
    assert result.evaluation.quantized is not None
    assert result.evaluation.quantized.top1 >= COUNT
    assert result.evaluation.quantized.agreement == COUNT
    assert budget.drop == 0
    assert (budget.integer_drop == 0) == all(f.reason == "speed" for f in budget.fallbacks)
    # The mean is no layer with weights.
    weighted = [f for f in budget.fallbacks if f.layer != "mobilenet_v1.pooler"]
    assert said.float_layers == len(weighted)
    assert said.integer_layers == 28 - len(weighted)
    assert all(f.integer_us and f.float_us for f in budget.fallbacks)
    assert budget.run_us
    assert budget.integer_run_us
    verify_package(tmp_path / "package")
    assert read_manifest(tmp_path / "package") == result.manifest


def test_no_package_where_the_budget_is_beyond_reach(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def right(self: Budget, module: nn.Module, what: str) -> int:
        return COUNT if what == "in float32" else 0

    monkeypatch.setattr(Budget, "right", right)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(VerificationError, match="top-1 falls by 1 even with all layers but one in float32"):
        compile_within(0.5, images, "arm64", tmp_path / "package")
    assert sorted(tmp_path.iterdir()) == before
