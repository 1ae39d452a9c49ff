"""The library for 64-bit ARM gives what the one for this machine gives, as nearly as PyTorch's rounding allows."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lwc.oracle import ALLOWANCE, FACTOR
from lwc.package.reference import run_reference
from lwc.package.verify import root_mean_square
from tests.compiled.support import Array, compile_module, require_runner, results
from tests.programs import Shape, random_inputs, randomize

pytestmark = pytest.mark.slow

# Neither channels nor sizes are whole vectors or tiles.
SHAPE: Shape = (1, 40, 15, 13)
LAYERS = {
    "pointwise": nn.Conv2d(40, 100, 1),
    "depthwise": nn.Conv2d(40, 40, 3, padding=1, groups=40),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_the_same_on_arm64_as_here(kind: str, tmp_path: Path, rng: torch.Generator) -> None:
    require_runner("arm64")
    module = nn.Sequential(LAYERS[kind], nn.ReLU6())
    randomize(module, rng)
    sample, (x,) = random_inputs((SHAPE,), rng), random_inputs((SHAPE,), rng)

    def result(target: str) -> Array:
        package = compile_module(tmp_path / target, module, sample, target).package
        return results(package, x.numpy())[0]

    reference = run_reference(module, [(x.numpy(),)])
    (wanted,), (float32,) = reference.float64, reference.float32
    assert wanted.std() > 0.1
    limit = FACTOR * root_mean_square(float32 - wanted) + ALLOWANCE
    assert root_mean_square(result("arm64") - result("native")) <= limit
