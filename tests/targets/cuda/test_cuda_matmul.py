"""Products of two activations on a GPU give what PyTorch gives, for any batch, rows, columns and inner extent."""

import numpy as np
import pytest
import torch

from lwc.targets.kernels.cuda import matmul
from lwc.targets.target import Target
from tests.targets.cuda.emulation import GPU, Layer, check_layers, require_right, scheduled
from tests.targets.cuda.layers import SEED, numbers, stored

pytestmark = pytest.mark.slow

# Batch, rows, inner, columns.
CASES: dict[str, tuple[int, int, int, int]] = {
    "one_number": (1, 1, 1, 1),
    "scores": (16, 49, 16, 49),
    "values": (12, 64, 64, 36),
    "many_tokens": (4, 256, 36, 256),
    "odd": (3, 17, 33, 65),
    "one_row": (5, 1, 197, 24),
    "one_column": (2, 65, 24, 1),
    "three": (2, 3, 5, 3),
    "deep": (1, 24, 1000, 40),
    "large": (2, 256, 64, 512),
}


def layer_of(
    batch: int, rows: int, inner: int, columns: int, rng: np.random.Generator, target: Target = GPU
) -> Layer:
    kernel = matmul.plan(batch, rows, inner, columns, target)
    right = numbers(rng, batch, inner, columns) / np.float32(np.sqrt(inner))
    operands = tuple(stored(target, numbers(rng, batch, rows, inner), right))
    return Layer(scheduled(kernel, matmul, *operands), operands, torch.bmm, operands)


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exception | None]:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    layers = {name: layer_of(*case, rng) for name, case in CASES.items()}
    return check_layers(layers, tmp_path_factory.mktemp("matmul"))


@pytest.mark.parametrize("name", CASES)
def test_product(differences: dict[str, Exception | None], name: str) -> None:
    require_right(differences, name)


def test_multiply_accumulates_are_counted() -> None:
    assert matmul.plan(3, 17, 33, 65, GPU).macs == 3 * 17 * 33 * 65
