"""The inner loops of the kernels for 64-bit ARM, read as machine code: no spills, and busy multiply-add units.

LLVM has no model of the Cortex-A76 and takes that of the Cortex-A57, where a multiply-add of 128 bits keeps both units
busy for a cycle. So the bound is not half of their number, but what the model gives a loop's arithmetic by itself.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from lwc.lower.build import build_kernels
from lwc.lower.kernel import ATTRIBUTE, KernelTable
from lwc.targets.kernels import depthwise, gemm
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.resolve import resolve_target
from lwc.targets.target import Target
from lwc.tvm_api import te
from tests.compiled.disassembly import Code, cycles, disassemble, hot_loop, least_cycles, named

pytestmark = pytest.mark.slow

TARGETS = ("cortex-a76", "cortex-a72", "neoverse-n1")
STORES = ("str", "stp", "stur", "st1")
LEAST_SHARE = 0.85
# Layers of MobileNetV1: pixels and channels; kernel, size and channels.
POINTWISE = ((12544, 32, 64), (784, 256, 256), (196, 512, 512), (49, 1024, 1024))
DEPTHWISE = (
    ("direct", 28, 256),
    ("padded", 112, 32),
    ("padded", 28, 256),
    ("padded", 14, 512),
    ("padded", 7, 1024),
)
RELU6 = Epilogue("identity", 0.0, 6.0)


def loop_of(folder: Path, target: Target, kernel: Any, template: Any, *shapes: tuple[int, ...]) -> Code:
    """The hot loop of `kernel`, whose operands have `shapes`."""
    operands = [te.placeholder(shape, name=f"operand{place}") for place, shape in enumerate(shapes)]
    function = te.create_prim_func([*operands, template.compute(kernel, *operands)])
    table = KernelTable(target)
    scheduled = table.schedule(function.with_attr(ATTRIBUTE, table.index(kernel)))
    path = folder / "kernel.o"
    path.write_bytes(build_kernels({"kernel": scheduled}, target))
    # TVM puts the body of a parallel loop into a function of its own.
    return max(
        (hot_loop(code) for code in disassemble(path).values() if named(code, "fmla")),
        key=lambda loop: len(named(loop, "fmla")),
    )


def pointwise_loop(target: Target, rows: int, inner: int, columns: int, folder: Path) -> Code:
    """Of `rows` pixels, from `inner` channels to `columns`."""
    kernel = gemm.plan(rows, inner, columns, RELU6, target)
    packed = (kernel.padded_columns // kernel.tile.columns, inner, kernel.tile.columns)
    return loop_of(folder, target, kernel, gemm, (rows, inner), packed, (kernel.stored_columns,))


def depthwise_loop(target: Target, kind: str, size: int, channels: int, folder: Path) -> Code:
    """Of a window of 3 x 3 on `size` x `size` pixels."""
    image, window = (1, size, size, channels), Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    kernel = depthwise.plan(image, window, RELU6, target, kind)
    return loop_of(folder, target, kernel, depthwise, image, (3, 3, channels), (channels,))


def stack_accesses(loop: Code) -> Code:
    """The instructions that read or write the stack by its pointer."""
    return [instruction for instruction in loop if re.search(r"\bsp\b", instruction.operands)]


def share_of_bound(loop: Code) -> float:
    """How near a loop comes to the least time for its arithmetic on a Cortex-A76."""
    arithmetic = named(loop, "fmla", "fadd", "fmaxnm", "fminnm")
    return least_cycles(arithmetic, "cortex-a76") / cycles(loop, "cortex-a76")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("sizes", POINTWISE)
def test_pointwise(sizes: tuple[int, int, int], target: str, tmp_path: Path) -> None:
    loop = pointwise_loop(resolve_target(target), *sizes, tmp_path)
    # The sums stay in registers: what it stored would be spilt.
    assert not stack_accesses(loop)
    assert not named(loop, *STORES)
    multiply_adds = named(loop, "fmla")
    assert len(multiply_adds) >= 16
    for instruction in multiply_adds:
        # By element, as in v2.s[1]: no instruction broadcasts.
        assert instruction.operands.endswith("]"), instruction
    assert share_of_bound(loop) >= LEAST_SHARE


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("layer", DEPTHWISE)
def test_depthwise(layer: tuple[str, int, int], target: str, tmp_path: Path) -> None:
    loop = depthwise_loop(resolve_target(target), *layer, tmp_path)
    # Where LLVM joins two tiles, a value between them may find no register.
    assert len(stack_accesses(loop)) <= len(named(loop, "fmla")) / 50
    # One row of some pixels at least, by nine weights; the model takes each jump at the border as not taken.
    assert len(named(loop, "fmla")) >= 54
    assert share_of_bound(loop) >= LEAST_SHARE
