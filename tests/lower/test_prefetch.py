"""Fetching ahead what a reduction reads, and accumulators that stay in registers."""

import re

import pytest

from lwc.lower.build import build_kernels
from lwc.lower.kernel import KernelTable
from lwc.targets import arm64, x86_64_v3, x86_64_v4
from lwc.targets.kernels import gemm
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.kernels.tiling import fetched_lines
from lwc.targets.target import Target
from lwc.tvm_api import te, tirx

V4 = x86_64_v4.TARGET


def product(rows: int, inner: int, columns: int, target: Target) -> tuple[gemm.Gemm, tirx.PrimFunc]:
    """A product's kernel and its scheduled function."""
    kernel = gemm.plan(rows, inner, columns, Epilogue(), target)
    x = te.placeholder((rows, inner), name="x")
    weight = te.placeholder(
        (kernel.padded_columns // kernel.tile.columns, inner, kernel.tile.columns), name="weight"
    )
    bias = te.placeholder((kernel.stored_columns,), name="bias")
    table = KernelTable(target)
    function = te.create_prim_func([x, weight, bias, gemm.compute(kernel, x, weight, bias)])
    return kernel, table.schedule(function.with_attr("lwc.kernel", table.index(kernel)))


@pytest.mark.parametrize(
    ("columns", "lines"), [(16, 1), (32, 2), (48, 3), (8, 0), (24, 0)], ids=lambda value: str(value)
)
def test_whole_lines_are_fetched(columns: int, lines: int) -> None:
    assert fetched_lines(columns) == lines


def test_each_line_of_a_row_of_weights_is_fetched_once_a_step() -> None:
    kernel, function = product(49, 64, 192, V4)
    fetches = re.findall(r"prefetch\(T\.address_of\(weight\[(.*?)\]\)", function.script())
    assert len(fetches) == fetched_lines(kernel.tile.columns) > 0
    assert [place.split(", ")[-1] for place in fetches] == [str(16 * i) for i in range(len(fetches))]
    assert all("k_0 + 64" in place for place in fetches)


def test_rows_that_are_no_whole_lines_are_left_to_the_machine() -> None:
    kernel, function = product(49, 64, 24, arm64.TARGET)
    assert fetched_lines(kernel.tile.columns) == 0
    assert "prefetch" not in function.script()


def test_what_the_first_cache_keeps_is_not_fetched() -> None:
    _, function = product(49, 32, 96, V4)
    assert "prefetch" not in function.script()


@pytest.mark.parametrize("target", [V4, x86_64_v3.TARGET, arm64.TARGET], ids=lambda target: target.name)
@pytest.mark.parametrize(("rows", "columns"), [(196, 512), (49, 160), (16, 384), (1, 1000), (784, 24)])
def test_accumulators_need_no_memory(rows: int, columns: int, target: Target) -> None:
    """What TVM cannot keep on the stack it asks the runtime for, and LLVM then stores it in every step."""
    _, function = product(rows, 64, columns, target)
    assert b"TVMBackendAllocWorkspace" not in build_kernels({"product": function}, target)
