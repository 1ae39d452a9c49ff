"""Layer normalisation on a GPU: rows of any length and number, with and without weights, and far from zero."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lwc.targets.kernels.cuda import norm
from lwc.targets.target import Target
from tests.targets.cuda.emulation import GPU, Layer, check_layers, require_right, scheduled
from tests.targets.cuda.layers import SEED, numbers, stored

pytestmark = pytest.mark.slow

EPSILON = 1e-3
# Rows, columns, the mean of the rows, how many of weight and bias there are.
CASES: dict[str, tuple[int, int, float, int]] = {
    "tokens": (256, 144, 0, 2),
    "many_tokens": (2048, 96, 0, 2),
    "odd": (49, 197, 0, 2),
    "short": (17, 5, 0, 2),
    "one_number_a_row": (7, 1, 0, 2),
    "one_row": (1, 1000, 0, 2),
    "long_rows": (3, 5000, 0, 2),
    "prime_rows": (1009, 24, 0, 1),
    "without_weights": (12, 65, 0, 0),
    "far_from_zero": (50, 96, 30, 2),
}


def layer_of(
    rows: int, columns: int, mean: float, weights: int, rng: np.random.Generator, target: Target = GPU
) -> Layer:
    kernel = norm.plan(rows, columns, EPSILON, target)
    (x,) = stored(target, numbers(rng, rows, columns) + np.float32(mean))
    operands = (x, *numbers(rng, weights, columns))

    def eager(
        x: torch.Tensor, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        return functional.layer_norm(x, (columns,), weight, bias, EPSILON)

    return Layer(scheduled(kernel, norm, *operands), operands, eager, operands)


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exception | None]:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    layers = {name: layer_of(*case, rng) for name, case in CASES.items()}
    return check_layers(layers, tmp_path_factory.mktemp("norm"))


@pytest.mark.parametrize("name", CASES)
def test_normalisation(differences: dict[str, Exception | None], name: str) -> None:
    require_right(differences, name)


@pytest.mark.parametrize("rows", [1, 49, 1024, 100000])
@pytest.mark.parametrize("columns", [1, 32, 144, 1000, 100000])
def test_whole_warps_take_whole_rows(rows: int, columns: int) -> None:
    kernel = norm.plan(rows, columns, EPSILON, GPU)
    assert kernel.threads % 32 == 0
    assert kernel.threads * kernel.row_block <= 256
    assert rows % kernel.row_block == 0
