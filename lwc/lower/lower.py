"""From a Program to a LoweredProgram: scheduled kernels, static memory and the calls in order."""

import math

import numpy as np

from lwc.lower.calls import Call, CallList, View, list_calls
from lwc.lower.choose import Choose, as_planned
from lwc.lower.memory import ALIGNMENT, aligned, lifetimes, plan_arena
from lwc.lower.program import Buffer, KernelCall, LoweredProgram, Space
from lwc.lower.relax_import import import_program
from lwc.lower.relax_lower import lower_relax
from lwc.targets.target import Target
from lwc.trace import Program
from lwc.tvm_api import borrowed_bytes, te, tirx

_BORROWED_BLOCKS = 16  # at a time: LWC_WORKSPACE_BLOCKS of runtime/lwc_internal.h


def lower(program: Program, target: Target, choose: Choose = as_planned) -> LoweredProgram:
    """The static form of `program`, its kernels scheduled for `target`; `choose` may take others than are planned.

    Raises UnsupportedError for an operator or a shape that has no static form.
    """
    module, kernels = import_program(program, target, choose)
    module = lower_relax(module)
    calls = list_calls(module)
    functions = {
        variable.name_hint: function
        for variable, function in module.functions.items()
        if isinstance(function, tirx.PrimFunc)
    }
    _copy_outputs(calls, functions)
    used = {call.function for call in calls.calls}
    scheduled = {name: kernels.schedule(functions[name]) for name in sorted(used)}
    macs = {name: kernels.macs(functions[name]) for name in used}
    thread_bytes = 0 if target.gpu else max(map(_thread_bytes, scheduled.values()), default=0)
    return _assemble(calls, scheduled, macs, thread_bytes)


def _copy_outputs(calls: CallList, functions: dict[str, tirx.PrimFunc]) -> None:
    """Give each output a storage of its own that a call writes: inputs, constants and repeats are copied."""
    written = {view.storage for call in calls.calls for view in call.writes}
    seen: set[int] = set()
    for position, view in enumerate(calls.outputs):
        if view.storage in written and view.storage not in seen:
            seen.add(view.storage)
            continue
        copy = View(calls.new_storage(), view.shape, view.dtype)
        name = f"copy_{position}"
        functions[name] = _copy_function(view)
        calls.calls.append(Call(name, (view,), (copy,)))
        calls.outputs[position] = copy
        seen.add(copy.storage)


def _copy_function(view: View) -> tirx.PrimFunc:
    source = te.placeholder(view.shape, view.dtype, name="source")
    return te.create_prim_func([source, te.compute(view.shape, lambda *i: source(*i), name="copy")])


def _assemble(
    calls: CallList, kernels: dict[str, tirx.PrimFunc], macs: dict[str, int], thread_bytes: int
) -> LoweredProgram:
    places = {view.storage: (Space.INPUT, i) for i, view in enumerate(calls.inputs)}
    places |= {view.storage: (Space.OUTPUT, i) for i, view in enumerate(calls.outputs)}
    weights = _place_weights(calls, places)
    sizes = {
        view.storage: math.prod(view.shape) * np.dtype(view.dtype).itemsize
        for call in calls.calls
        for view in call.writes
        if view.storage not in places
    }
    offsets, arena_bytes = plan_arena(lifetimes(calls.calls, sizes))
    places |= {storage: (Space.ARENA, offset) for storage, offset in offsets.items()}

    table: dict[Buffer, int] = {}

    def index(view: View) -> int:
        space, offset = places[view.storage]
        return table.setdefault(Buffer(space, offset, view.shape, view.dtype), len(table))

    inputs, outputs = tuple(map(index, calls.inputs)), tuple(map(index, calls.outputs))
    kernel_calls = tuple(
        KernelCall(
            f"__tvm_ffi_{call.function}",
            tuple(map(index, (*call.reads, *call.writes))),
            call.layer,
            macs[call.function],
        )
        for call in calls.calls
    )
    return LoweredProgram(
        tuple(table), kernel_calls, inputs, outputs, weights, arena_bytes, thread_bytes, kernels
    )


def _thread_bytes(kernel: tirx.PrimFunc) -> int:
    """What `kernel` borrows for a thread, at most, in aligned blocks."""
    borrowed = borrowed_bytes(kernel)
    return aligned(borrowed) + ALIGNMENT * _BORROWED_BLOCKS if borrowed else 0


def _place_weights(calls: CallList, places: dict[int, tuple[Space, int]]) -> bytes:
    """Lay out the constants that some call reads, equal ones once; enters their offsets in `places`."""
    used = {view.storage for call in calls.calls for view in call.reads}
    blob = bytearray()
    known: dict[bytes, int] = {}
    for storage, value in calls.constants.items():
        if storage not in used:
            continue
        contents = value.tobytes()
        if contents not in known:
            known[contents] = len(blob)
            blob += contents + bytes(aligned(len(contents)) - len(contents))
        places[storage] = (Space.WEIGHTS, known[contents])
    return bytes(blob)
