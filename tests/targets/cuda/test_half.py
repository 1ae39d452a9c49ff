"""The templates on float16: sums and epilogues in float32, one rounding at the end."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.compiled.test_operators import Branches
from tests.targets.cuda import test_cuda_attention, test_cuda_matmul, test_cuda_norm
from tests.targets.cuda.emulation import HALF_GPU, Layer, check_layers, require_close, require_right
from tests.targets.cuda.layers import SEED, random_layers
from tests.targets.cuda.plain_programs import plain_program, run_plainly
from tests.targets.cuda.test_convolutions import DENSE, DEPTHWISE
from tests.targets.cuda.test_cuda_plain import GROUPS
from tests.targets.cuda.test_cuda_separable import CASES as SEPARABLE
from tests.targets.cuda.test_gemm import CASES as PRODUCTS

pytestmark = pytest.mark.slow


def half_layers() -> dict[str, Layer]:
    """The layers of the other tests, by template and name."""
    rng = np.random.default_rng(SEED)
    groups = {
        "gemm": random_layers(PRODUCTS, HALF_GPU),
        "dense": random_layers(DENSE, HALF_GPU),
        "depthwise": random_layers(DEPTHWISE, HALF_GPU),
        "separable": random_layers(SEPARABLE, HALF_GPU),
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


def test_plain_functions_agree_with_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    # Factors of products become float16 before they are used; PyTorch's stay float32.
    chosen = {name: group for name, group in GROUPS.items() if name != "products"}
    programs = {
        name.replace(" ", "_"): plain_program(Branches(functions), shape, rng, torch.float16)
        for name, (shape, functions) in chosen.items()
    }
    results = run_plainly(programs, tmp_path, monkeypatch)
    for name, program in programs.items():
        half, double = (program.module(x) for x in (program.sample, program.sample.double()))
        for number, outputs in enumerate(zip(results[name], half, double, strict=True)):
            require_close(f"{name} {number}", *(np.asarray(output, np.float64) for output in outputs))
