"""Programs without any template, scheduled by `plain.schedule` and run by emulation call by call."""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lwc.emulator.kernels import emulated_kernels
from lwc.lower.calls import Call, CallList, View, list_calls
from lwc.lower.cuda_source import cuda_source
from lwc.lower.device import Launch
from lwc.lower.relax_import import import_program
from lwc.lower.relax_lower import lower_relax
from lwc.lower.widen import computed_in_float32
from lwc.package.toolchain import find_toolchain
from lwc.targets.kernels.cuda import plain
from lwc.trace import trace
from lwc.tvm_api import Schedule, tirx, tvm
from tests.programs import randomize
from tests.targets.cuda.emulation import GPU, ORDERS

Array = NDArray[Any]
Function = Callable[[torch.Tensor], Any]


@dataclass(frozen=True)
class PlainProgram:
    """`module` on one input: its calls in order, and the scheduled functions that they name."""

    module: nn.Module
    sample: torch.Tensor
    calls: CallList
    functions: Mapping[str, tirx.PrimFunc]


def plain_program(
    module: nn.Module,
    shape: tuple[int, ...],
    rng: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> PlainProgram:
    """`module` on a standard normal tensor of `shape` and `dtype`; no part of it may have a template."""
    randomize(module, rng)
    sample = torch.randn(shape, generator=rng).to(dtype)
    program = trace(module.to(dtype).eval(), (sample,), ("x0",))
    lowered = lower_relax(import_program(program, GPU)[0])
    calls = list_calls(lowered)
    functions = {variable.name_hint: value for variable, value in lowered.functions.items()}
    used = {call.function: functions[call.function] for call in calls.calls}
    assert not any("lwc.kernel" in (value.attrs or {}) for value in used.values()), "a template's"
    scheduled = {name: scheduled_plainly(value) for name, value in used.items()}
    return PlainProgram(module, program.inputs[0], calls, scheduled)


def scheduled_plainly(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """`function` with the schedule for the GPU."""
    sch = Schedule(tvm.IRModule({"main": computed_in_float32(function)}))
    plain.schedule(sch, GPU)
    return sch.mod["main"]


def run_function(
    function: tirx.PrimFunc, sample: Array, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Array]:
    """All that the scheduled `function` gives for its only input."""
    views = [
        View(number, tuple(int(extent) for extent in operand.ty.shape), str(operand.ty.dtype))
        for number, operand in enumerate(function.params)
    ]
    calls = CallList([Call("only", (views[0],), tuple(views[1:]))], {}, views[:1], views[1:])
    program = PlainProgram(nn.Identity(), torch.from_numpy(sample), calls, {"only": function})
    return run_plainly({"program": program}, folder, monkeypatch)["program"]


def run_plainly(
    programs: Mapping[str, PlainProgram], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, list[Array]]:
    """The outputs of each program for its sample, the same in both orders of threads."""
    functions = {
        f"{name}_{key}": function
        for name, each in programs.items()
        for key, function in each.functions.items()
    }
    source, launches = cuda_source(functions, GPU)
    library = ctypes.CDLL(str(emulated_kernels(source, find_toolchain(GPU), folder)))
    outputs: dict[str, list[Array]] = {}
    for order in ORDERS:
        monkeypatch.setenv("LWC_EMULATOR_ORDER", order)
        for name, program in programs.items():
            results = _run(library, launches, name, program)
            for result, first in zip(results, outputs.setdefault(name, results), strict=True):
                np.testing.assert_array_equal(result, first, f"{name}, {order}")
    return outputs


def _run(
    library: ctypes.CDLL, launches: Mapping[str, Launch], name: str, program: PlainProgram
) -> list[Array]:
    calls = program.calls
    storages: dict[int, Array] = dict(calls.constants)
    storages[calls.inputs[0].storage] = program.sample.numpy()
    for call in calls.calls:
        for view in call.writes:
            storages[view.storage] = np.full(view.shape, 99, view.dtype)
        _launch(library, launches[f"__tvm_ffi_{name}_{call.function}"], call, storages)
    return [_seen(view, storages) for view in calls.outputs]


def _seen(view: View, storages: Mapping[int, Array]) -> Array:
    return np.ascontiguousarray(storages[view.storage]).reshape(view.shape)


def _launch(library: ctypes.CDLL, launch: Launch, call: Call, storages: dict[int, Array]) -> None:
    operands = [_seen(view, storages) for view in (*call.reads, *call.writes)]
    pointers = [ctypes.c_void_p(operand.ctypes.data) for operand in operands]
    arguments = (ctypes.c_void_p * len(launch.arguments))(
        *(ctypes.addressof(pointers[position]) for position in launch.arguments)
    )
    grid, block = ((ctypes.c_uint * 3)(*extents) for extents in (launch.grid, launch.block))
    status = library.lwc_emulate(launch.kernel.encode(), grid, block, arguments)
    assert status == 0, f"{launch.kernel}: status {status}"
