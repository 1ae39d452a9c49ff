"""The templates on float16: sums and epilogues in float32, one rounding at the end."""

from pathlib import Path

import numpy as np
import pytest

from tests.targets.cuda import test_cuda_attention, test_cuda_matmul, test_cuda_norm
from tests.targets.cuda.emulation import HALF_GPU, Layer, check_layers, require_right
from tests.targets.cuda.layers import SEED, random_layers
from tests.targets.cuda.test_convolutions import DENSE, DEPTHWISE
from tests.targets.cuda.test_gemm import CASES as PRODUCTS

pytestmark = pytest.mark.slow


def half_layers() -> dict[str, Layer]:
    """The layers of the other tests, by template and name."""
    rng = np.random.default_rng(SEED)
    groups = {
        "gemm": random_layers(PRODUCTS, HALF_GPU),
        "dense": random_layers(DENSE, HALF_GPU),
        "depthwise": random_layers(DEPTHWISE, HALF_GPU),
        "attention": {name: case.layer(rng, HALF_GPU) for name, case in test_cuda_attention.CASES.items()},
        "matmul": {
            name: test_cuda_matmul.layer_of(*case, rng, HALF_GPU)
            for name, case in test_cuda_matmul.CASES.items()
        },
        "norm": {
            name: test_cuda_norm.layer_of(*case, rng, HALF_GPU) for name, case in test_cuda_norm.CASES.items()
        },
    }
    return {f"{group}_{name}": layer for group, layers in groups.items() for name, layer in layers.items()}


def test_templates_agree_with_pytorch(tmp_path: Path) -> None:
    differences = check_layers(half_layers(), tmp_path)
    for name in differences:
        require_right(differences, name)
