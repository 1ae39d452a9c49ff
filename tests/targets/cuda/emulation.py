"""Running scheduled functions by emulation, and the comparison that each of their results has to stand."""

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lwc.emulator.kernels import emulated_kernels
from lwc.lower.cuda_source import cuda_source
from lwc.lower.device import Launch
from lwc.package.toolchain import find_toolchain
from lwc.targets.cuda import cuda_target
from lwc.tvm_api import Schedule, te, tirx, tvm

GPU = cuda_target("sm_80")
assert GPU.gpu is not None
HALF_GPU = replace(GPU, gpu=replace(GPU.gpu, numbers="float16"))
ORDERS = ("forward", "backward")
# Around each operand lie so many bytes that nothing may write, and that are NaN for what reads them.
_GUARD = 256

Array = NDArray[Any]


def scheduled(kernel: Any, template: Any, *operands: Array | None, schedule: Any = None) -> tirx.PrimFunc:
    """`template.compute` of `kernel` on tensors like `operands`, scheduled by `schedule`, else by the template's."""
    given = [operand for operand in operands if operand is not None]
    tensors = [
        te.placeholder(operand.shape, str(operand.dtype), name=f"in{i}") for i, operand in enumerate(given)
    ]
    rest = iter(tensors)
    passed = [None if operand is None else next(rest) for operand in operands]
    function = te.create_prim_func([*tensors, template.compute(kernel, *passed)])
    sch = Schedule(tvm.IRModule({"main": function}))
    (schedule or template.schedule)(sch, kernel)
    return sch.mod["main"]


def run_emulated(
    functions: Mapping[str, tuple[tirx.PrimFunc, Sequence[Array | None]]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Array]:
    """What each scheduled function gives for its inputs, the same in both orders of threads; None is left out.

    All are compiled in one source, in `folder`.
    """
    source, launches = cuda_source({name: function for name, (function, _) in functions.items()}, GPU)
    library = ctypes.CDLL(str(emulated_kernels(source, find_toolchain(GPU), folder)))
    results: dict[str, Array] = {}
    for order in ORDERS:
        monkeypatch.setenv("LWC_EMULATOR_ORDER", order)
        for name, (function, inputs) in functions.items():
            given = [array for array in inputs if array is not None]
            result = _launch(library, launches[f"__tvm_ffi_{name}"], function, given)
            np.testing.assert_array_equal(result, results.setdefault(name, result), f"{name}, {order}")
    return results


def _launch(library: ctypes.CDLL, launch: Launch, function: tirx.PrimFunc, inputs: Sequence[Array]) -> Array:
    output = function.params[len(inputs)].ty
    empty = np.full([int(extent) for extent in output.shape], 99, str(output.dtype))
    guarded = [_guarded(array) for array in (*inputs, empty)]
    pointers = [ctypes.c_void_p(array.ctypes.data + _GUARD) for array in guarded]
    arguments = (ctypes.c_void_p * len(launch.arguments))(
        *(ctypes.addressof(pointers[position]) for position in launch.arguments)
    )
    grid, block = ((ctypes.c_uint * 3)(*extents) for extents in (launch.grid, launch.block))
    status = library.lwc_emulate(launch.kernel.encode(), grid, block, arguments)
    assert status == 0, f"{launch.kernel}: status {status}"
    for array, original in zip(guarded, (*inputs, None), strict=True):
        guards = np.concatenate([array[:_GUARD], array[-_GUARD:]])
        assert (guards == 255).all(), f"{launch.kernel} writes outside"
        assert original is None or (array[_GUARD:-_GUARD] == _bytes(original)).all(), "an input was written"
    return guarded[-1][_GUARD:-_GUARD].view(empty.dtype).reshape(empty.shape)


def _guarded(array: Array) -> Array:
    """The bytes of `array` between guards, aligned as the packages align operands."""
    size = array.nbytes + 2 * _GUARD
    memory = np.full(size + _GUARD, 255, np.uint8)
    start = -memory.ctypes.data % _GUARD
    guarded = memory[start : start + size]
    guarded[_GUARD:-_GUARD] = _bytes(array)
    return guarded


def _bytes(array: Array) -> Array:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)


def root_mean_square(values: Array) -> float:
    """Of all elements, in float64."""
    return math.sqrt(np.mean(np.square(np.asarray(values, np.float64)))) if values.size else 0.0


def require_close(name: str, result: Array, single: Array, double: Array) -> None:
    """`result` is about as near to `double`, PyTorch's float64, as `single`, its float32 (rounded where y is)."""
    assert result.shape == double.shape, f"{name}: {result.shape} instead of {double.shape}"
    assert np.isfinite(result).all(), f"{name}: not finite"
    error = root_mean_square(result - double)
    limit = 2 * root_mean_square(single - double) + 1e-6
    assert error <= limit, f"{name}: error {error:.3g}, limit {limit:.3g}"


@dataclass(frozen=True)
class Layer:
    """A scheduled function, what it reads, and the same in PyTorch on `tensors`."""

    function: tirx.PrimFunc
    operands: tuple[Array | None, ...]
    eager: Callable[..., torch.Tensor]
    tensors: tuple[Array, ...]


def check_layers(layers: Mapping[str, Layer], folder: Path) -> dict[str, Exception | None]:
    """Whether each layer gives what PyTorch gives, in both orders of threads; what is wrong where not."""
    functions = {name: (layer.function, layer.operands) for name, layer in layers.items()}
    with pytest.MonkeyPatch.context() as monkeypatch:
        results = run_emulated(functions, folder, monkeypatch)
    return {name: _difference(name, layer, results[name]) for name, layer in layers.items()}


def _difference(name: str, layer: Layer, result: Array) -> Exception | None:
    tensors = [torch.from_numpy(array) for array in layer.tensors]
    single = layer.eager(*(tensor.float() for tensor in tensors)).numpy().astype(result.dtype)
    double = layer.eager(*(tensor.double() for tensor in tensors)).numpy()
    try:
        require_close(name, result, single, double)
    except AssertionError as error:
        return error
    return None


def require_right(differences: Mapping[str, Exception | None], name: str) -> None:
    """Raises what `check_layers` found wrong with the layer `name`."""
    if error := differences[name]:
        raise error
