"""CUDA C of scheduled functions, and how each of its kernels is launched."""

import math
import re
from collections.abc import Sequence
from typing import Any

from lwc.lower.device import Launch
from lwc.targets.target import Target
from lwc.tvm_api import cuda_code, structural_map, structural_walk, tirx, tvm

_FIRST_KERNEL = 'extern "C" __global__'
_OPERAND = re.compile(r"_(\d+)_ptr(_\d+)?$")

# What TVM writes without a header of its own; neither nvcc, NVRTC nor the emulator then needs any.
_HEAD = """\
typedef signed char int8_t;
typedef unsigned char uint8_t, uchar;
typedef short int16_t;
typedef unsigned short uint16_t, ushort;
typedef int int32_t;
typedef unsigned int uint32_t, uint;
typedef long int64_t;
typedef unsigned long uint64_t;
#ifndef CUDART_INF_F
#define CUDART_INF_F __int_as_float(0x7f800000)
#endif
#ifndef CUDART_NAN_F
#define CUDART_NAN_F __int_as_float(0x7fffffff)
#endif
"""


def cuda_source(functions: dict[str, tirx.PrimFunc], target: Target) -> tuple[str, dict[str, Launch]]:
    """CUDA C of `functions`, bound to blocks and threads, and the launch of each by its symbol, `__tvm_ffi_` and key.

    The launches' arguments are positions among the function's parameters.
    Raises ValueError for a function that is not exactly one launch, or one that the GPU of `target` cannot take.
    """
    named = {name: _with_numbered_operands(function) for name, function in functions.items()}
    launching, kernels, code = cuda_code(named, target)
    parameters = {
        variable.name_hint: [_position(parameter.name) for parameter in kernel.params]
        for variable, kernel in kernels.functions.items()
    }
    launches = {
        f"__tvm_ffi_{name}": _launch(name, launching[_symbol(launching, name)].body, parameters, target)
        for name in functions
    }
    return _with_own_head(code), launches


def _with_numbered_operands(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """`function` whose operands' names end in their positions: a kernel has its parameters in an order of its own."""
    numbered = [
        (operand, tvm.ir.Var(f"{operand.name}_{position}", operand.ty))
        for position, operand in enumerate(function.params)
    ]

    def rename(variable: Any) -> Any:
        return next((new for old, new in numbered if old.same_as(variable)), variable)

    return structural_map(function, (tvm.ir.Var, rename))


def _position(parameter: str) -> int:
    found = _OPERAND.search(parameter)
    if found is None:
        raise ValueError(f"a kernel's parameter {parameter!r} is no operand of its function")
    return int(found[1])


def _symbol(module: tvm.IRModule, name: str) -> Any:
    return next(variable for variable in module.functions if variable.name_hint == name)


def _launch(name: str, body: Any, parameters: dict[str, list[int]], target: Target) -> Launch:
    """The only launch in `body`."""
    calls: list[Any] = []

    def collect(call: Any) -> None:
        if getattr(call.op, "name", "") == "tirx.call_ffi_kernel":
            calls.append(call)

    structural_walk(body, (tvm.ir.Call, collect))
    if len(calls) != 1:
        raise ValueError(f"{name}: {len(calls)} launches; schedule it as exactly one")
    (call,) = calls
    kernel, axes = str(call.args[0].value), [str(axis) for axis in call.attrs.launch_params]
    extents = dict(zip(axes, call.args[len(call.args) - len(axes) :], strict=True))
    if "tirx.use_dyn_shared_memory" in extents:
        raise ValueError(f"{name}: dynamic shared memory; use the scope `shared`")
    grid, block = (
        tuple(int(extents.get(f"{what}Idx.{axis}", 1)) for axis in "xyz") for what in ("block", "thread")
    )
    _check_limits(name, grid, block, target)
    return Launch(kernel, grid, block, tuple(parameters[kernel]))  # type: ignore[arg-type]


def _check_limits(name: str, grid: Sequence[int], block: Sequence[int], target: Target) -> None:
    """Limits of every architecture: CUDA C++ Programming Guide, "Compute Capabilities"."""
    assert target.gpu is not None
    if math.prod(block) > target.gpu.block_threads:
        raise ValueError(f"{name}: {math.prod(block)} threads in a block; at most {target.gpu.block_threads}")
    if max(grid[1:]) > 65535 or grid[0] >= 2**31 or block[2] > 64:
        raise ValueError(f"{name}: a grid of {grid} blocks of {block} threads is too large; use the axis x")


def _with_own_head(code: str) -> str:
    """`code` with what its kernels need of headers in place of all that TVM includes."""
    kernels = code[code.index(_FIRST_KERNEL) :] if _FIRST_KERNEL in code else ""
    half = "#include <cuda_fp16.h>\n" if re.search(r"\bhalf\d?\b", kernels) else ""
    return half + _HEAD + kernels
