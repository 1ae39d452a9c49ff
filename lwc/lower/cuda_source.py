"""CUDA C of scheduled functions, and how each of its kernels is launched."""

import math
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from lwc.lower.device import Launch
from lwc.targets.target import Target
from lwc.tvm_api import cuda_code, structural_map, structural_walk, tirx, tvm

_FIRST_KERNEL = 'extern "C" __global__'
_NO_LETTERS = re.compile(r"\W+", re.ASCII)
_OPERAND = re.compile(r"_(\d+)_ptr(_\d+)?$")

# What TVM writes without a header of its own; neither nvcc, NVRTC nor the emulator then needs any.
_HEADERS = {"half": "half.h", "wmma": "tensor_cores.h"}
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
__device__ __forceinline__ int lwc_word(const void *bytes) { return *(const int *)bytes; }
"""


def cuda_source(functions: dict[str, tirx.PrimFunc], target: Target) -> tuple[str, dict[str, Launch]]:
    """CUDA C of `functions`, bound to blocks and threads, and the launch of each by its symbol, `__tvm_ffi_` and key.

    The launches' arguments are positions among the function's parameters.
    Raises ValueError for a function that is not exactly one launch, or one that the GPU of `target` cannot take.
    """
    named = {name: _with_numbered_operands(function) for name, function in functions.items()}
    launching, kernels, code = cuda_code(named, target)
    launches = {}
    for name in functions:
        call = _only_launch(name, _function(launching, name))
        parameters = [parameter.name for parameter in _function(kernels, str(call.args[0].value)).params]
        launches[f"__tvm_ffi_{name}"] = _launch(name, call, parameters, target)
    return _with_own_head(code), launches


def _with_numbered_operands(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """`function` whose operands' names end in their positions: a kernel has its parameters in an order of its own.

    Names that layers gave may be none in C.
    """
    numbered = [
        (operand, tvm.ir.Var(f"{_NO_LETTERS.sub('_', operand.name)}_{position}", operand.ty))
        for position, operand in enumerate(function.params)
    ]

    names = dict(numbered)

    def rename(variable: Any) -> Any:
        plain = _NO_LETTERS.sub("_", variable.name)
        if variable not in names and plain != variable.name:
            names[variable] = tvm.ir.Var(plain, variable.ty)
        return names.get(variable, variable)

    return structural_map(function, (tvm.ir.Var, rename))


def _function(module: tvm.IRModule, name: str) -> tirx.PrimFunc:
    return next(function for variable, function in module.functions.items() if variable.name_hint == name)


def _only_launch(name: str, function: tirx.PrimFunc) -> Any:
    """The call that launches a kernel: its name, its arguments, its extents."""
    calls: list[Any] = []

    def collect(call: Any) -> None:
        if getattr(call.op, "name", "") == "tirx.call_ffi_kernel":
            calls.append(call)

    structural_walk(function.body, (tvm.ir.Call, collect))
    if len(calls) != 1:
        raise ValueError(f"{name}: {len(calls)} launches; schedule it as exactly one")
    return calls[0]


def _launch(name: str, call: Any, parameters: Sequence[str], target: Target) -> Launch:
    axes = [str(axis) for axis in call.attrs.launch_params]
    extents = dict(zip(axes, call.args[len(call.args) - len(axes) :], strict=True))
    if "tirx.use_dyn_shared_memory" in extents:
        raise ValueError(f"{name}: dynamic shared memory; use the scope `shared`")

    def extent(axis: str) -> int:
        return int(extents.get(axis, 1))

    grid = (extent("blockIdx.x"), extent("blockIdx.y"), extent("blockIdx.z"))
    block = (extent("threadIdx.x"), extent("threadIdx.y"), extent("threadIdx.z"))
    _check_limits(name, grid, block, target)
    positions = tuple(_position(name, parameter) for parameter in parameters)
    return Launch(str(call.args[0].value), grid, block, positions)


def _position(name: str, parameter: str) -> int:
    found = _OPERAND.search(parameter)
    if found is None:
        raise ValueError(f"{name}: {parameter!r} is no operand; keep it in the scope `shared` or `local`")
    return int(found[1])


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
    headers = [header for word, header in _HEADERS.items() if re.search(rf"\b{word}\b", kernels)]
    return _HEAD + "".join(map(_of_package, headers)) + kernels


def _of_package(name: str) -> str:
    return files("lwc.cuda").joinpath(name).read_text()
