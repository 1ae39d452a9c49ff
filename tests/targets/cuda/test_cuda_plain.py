"""Functions without a template on a GPU: each is one launch, and agrees with PyTorch by emulation."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from lwc.errors import UnsupportedError
from lwc.lower.cuda_source import cuda_source
from lwc.targets import x86_64_v3
from lwc.targets.kernels.cuda import plain
from lwc.tvm_api import Schedule, te, topi, tvm
from tests.compiled.test_operators import GROUPS as OPERATORS
from tests.compiled.test_operators import Branches
from tests.targets.cuda.emulation import GPU, require_close
from tests.targets.cuda.plain_programs import (
    Function,
    plain_program,
    run_function,
    run_plainly,
    scheduled_plainly,
)

pytestmark = pytest.mark.slow

SMALL, DEEP, LARGE = (1, 6, 9, 11), (2, 65, 7, 10), (1, 40, 64, 48)


def unfolded(x: torch.Tensor) -> torch.Tensor:
    """A map as the patches of 2 x 2 pixels that MobileViT's attention reads."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 2, 4, 1) * 1.5


def averaged(x: torch.Tensor) -> torch.Tensor:
    """The two heads of LeViT."""
    return (x.mean(1) + 0.3 * x.abs().mean(1)) / 2


# Groups of functions of a map, with the shape that they are tried on.
GROUPS: dict[str, tuple[tuple[int, ...], tuple[Function, ...]]] = {
    **{
        name: (SMALL, OPERATORS[name])
        for name in ("activations", "arithmetic", "pooling", "resizing", "views")
    },
    # Those that no template takes.
    "normalisation": (SMALL, tuple(OPERATORS["normalisation"][number] for number in (0, 1, 2, 5, 6, 7, 8))),
    "products": (SMALL, tuple(OPERATORS["products"][number] for number in (0, 2, 3, 4))),
    "softmax of each axis": (DEEP, tuple(partial(torch.softmax, dim=axis) for axis in range(4))),
    "softmax of classes": ((2, 1000), (partial(torch.softmax, dim=-1), lambda x: x.argmax(1))),
    "softmax of many rows": ((5, 300, 49), (partial(torch.softmax, dim=-1),)),
    "reductions of maps": (
        DEEP,
        (
            lambda x: x.log_softmax(1),
            lambda x: 100 * x.mean(),
            lambda x: x.mean(1, keepdim=True) * x,
            lambda x: x.var((1, 2), correction=0),
            lambda x: functional.normalize(x.flatten(1), dim=1) * 20,
            lambda x: functional.group_norm(x, 5, x.new_full((65,), 0.7), x.new_ones(65)),
            functional.instance_norm,
        ),
    ),
    "means of pixels": ((2, 7, 7, 65), (lambda x: x.mean((1, 2)), lambda x: x.mean((1, 2)).sigmoid())),
    "means of pixels of many channels": ((1, 8, 8, 640), (lambda x: x.mean((1, 2)),)),
    "means of rows": ((3, 49, 197), (lambda x: x.mean(-1), lambda x: x.mean(1), lambda x: x.sum((0, 2)))),
    "several results": (
        DEEP,
        (
            lambda x: torch.split(2 * x, [30, 35], 1)[1],
            lambda x: torch.stack(torch.chunk(x, 5, 1)[1:3]).exp(),
            torch.relu,
            lambda x: x.relu().sigmoid(),
        ),
    ),
    "patches": ((1, 24, 16, 16), (unfolded,)),
    "averages of heads": ((3, 2, 1000), (averaged,)),
    "vectors": (
        LARGE,
        (
            lambda x: x.sigmoid() * 2,
            lambda x: torch.cat([x, x.flip(1)], 1),
            lambda x: x.permute(0, 2, 3, 1) + 1,
            lambda x: x[:, :, 1:, 3:47] * 2,
            lambda x: (30 * x).clamp(-128, 127).round().to(torch.int8),
        ),
    ),
    "other types": (SMALL, (lambda x: (3 * x).to(torch.int32) + 1, lambda x: (x > 0) & (x < 1))),
    "one number": ((1,), (lambda x: x * 2, lambda x: x.sum())),
}


def test_plain_functions_agree_with_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    programs = {
        name.replace(" ", "_"): plain_program(Branches(functions), shape, rng)
        for name, (shape, functions) in GROUPS.items()
    }
    results = run_plainly(programs, tmp_path, monkeypatch)
    for name, program in programs.items():
        single, double = (program.module(x) for x in (program.sample, program.sample.double()))
        for number, outputs in enumerate(zip(results[name], single, double, strict=True)):
            require_close(f"{name} {number}", *(np.asarray(output, np.float64) for output in outputs))


def test_a_softmax_is_shared_by_a_block() -> None:
    """A row of a thousand classes is one block's; every thread on its own would read a million numbers."""
    classes = te.placeholder((5, 1000), name="classes")
    function = te.create_prim_func([classes, softmax(classes)])
    source, launches = cuda_source({"softmax": scheduled_plainly(function)}, GPU)
    (launch,) = launches.values()
    assert launch.grid == (5, 1, 1)
    assert launch.block == (256, 1, 1)
    assert "__shfl_down_sync" in source


def test_a_large_copy_moves_vectors() -> None:
    x = te.placeholder((256, 4096), name="x")
    function = te.create_prim_func([x, te.compute(x.shape, lambda i, j: x[i, j] + 1, name="y")])
    source, _ = cuda_source({"add": scheduled_plainly(function)}, GPU)
    assert "*(float4*)(y" in source


def test_a_small_copy_is_spread_over_multiprocessors() -> None:
    x = te.placeholder((40, 160), name="x")
    function = te.create_prim_func([x, te.compute(x.shape, lambda i, j: x[i, j] + 1, name="y")])
    _, launches = cuda_source({"add": scheduled_plainly(function)}, GPU)
    (launch,) = launches.values()
    assert launch.grid == (100, 1, 1)
    assert launch.block == (64, 1, 1)


def test_several_results_are_one_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    """Of different sizes, one read by another, and one by way of a sum."""
    x = te.placeholder((6, 77), name="x")
    doubled = te.compute(x.shape, lambda i, j: 2 * x[i, j], name="doubled")
    head = te.compute((6, 5), lambda i, j: doubled[i, j + 3] + 1, name="head")
    k = te.reduce_axis((0, 77), name="k")
    total = te.compute((6,), lambda i: te.sum(doubled[i, k], axis=k), name="total")
    function = te.create_prim_func([x, doubled, head, total])
    sample = torch.randn((6, 77), generator=rng)
    outputs = run_function(scheduled_plainly(function), sample.numpy(), tmp_path, monkeypatch)
    expected = [(2 * y, 2 * y[:, 3:8] + 1, 2 * y.sum(1)) for y in (sample, sample.double())]
    for result, single, double in zip(outputs, *expected, strict=True):
        require_close("several", result, single.numpy(), double.numpy())


def test_results_that_share_a_sum_are_refused() -> None:
    x = te.placeholder((6, 77), name="x")
    k = te.reduce_axis((0, 77), name="k")
    total = te.compute((6,), lambda i: te.sum(x[i, k], axis=k), name="total")
    shares = te.compute(x.shape, lambda i, j: x[i, j] / total[i], name="shares")
    function = te.create_prim_func([x, total, shares])
    with pytest.raises(UnsupportedError, match="total: no single launch can compute it"):
        scheduled_plainly(function)


def test_a_target_without_a_gpu_is_refused() -> None:
    x = te.placeholder((4,), name="x")
    function = te.create_prim_func([x, te.compute(x.shape, lambda i: x[i] + 1)])
    with pytest.raises(UnsupportedError, match="no GPU"):
        plain.schedule(Schedule(tvm.IRModule({"main": function})), x86_64_v3.TARGET)


def softmax(x: te.Tensor) -> te.Tensor:
    """Over the last axis of x."""
    return topi.nn.softmax(x, axis=1)
