"""NVIDIA's compiler keeps what attention, normalisation, products and plain functions compute in registers."""

from pathlib import Path

import numpy as np
import pytest

from lwc.tvm_api import te, tirx, topi
from tests.targets.cuda import test_cuda_attention, test_cuda_matmul, test_cuda_norm
from tests.targets.cuda.layers import SEED
from tests.targets.cuda.nvcc import memory_of_threads, needs_nvcc
from tests.targets.cuda.plain_programs import scheduled_plainly

pytestmark = [pytest.mark.slow, needs_nvcc]


def plain_function(x: te.Tensor, y: te.Tensor) -> tirx.PrimFunc:
    return scheduled_plainly(te.create_prim_func([x, y]))


@pytest.fixture(scope="module")
def functions() -> dict[str, tirx.PrimFunc]:
    rng = np.random.default_rng(SEED)
    image, classes = te.placeholder((1, 7, 7, 1280), name="x"), te.placeholder((8, 1000), name="x")
    products = {f"product_{name}": case for name, case in test_cuda_matmul.CASES.items() if case[0] > 1}
    return {
        **{name: case.layer(rng).function for name, case in test_cuda_attention.CASES.items()},
        **{
            f"norm_{name}": test_cuda_norm.layer_of(*case, rng).function
            for name, case in test_cuda_norm.CASES.items()
        },
        **{name: test_cuda_matmul.layer_of(*case, rng).function for name, case in products.items()},
        "mean": plain_function(image, topi.sum(image, axis=(1, 2))),
        "softmax": plain_function(classes, topi.nn.softmax(classes)),
        "transpose": plain_function(image, topi.transpose(image, (0, 3, 1, 2))),
        "window": plain_function(
            image, topi.nn.pool2d(image, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), "max", layout="NHWC")
        ),
    }


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
def test_threads_need_no_memory(
    functions: dict[str, tirx.PrimFunc], architecture: str, tmp_path: Path
) -> None:
    used = memory_of_threads(functions, architecture, tmp_path)
    assert {name: size for name, size in used.items() if size} == {}
