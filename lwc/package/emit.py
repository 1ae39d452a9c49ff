"""The C text of a package: the model's header, its static program, and an example."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import numpy as np

from lwc.lower.device import DeviceCode
from lwc.lower.memory import aligned
from lwc.lower.program import Buffer, LoweredProgram
from lwc.package.manifest import TensorInfo

# Of inputs and of outputs, and their axes: LWC_MAX_TENSORS in runtime/lwc_internal.h, and the header's lwc_tensor_info.
MAX_TENSORS, MAX_RANK = 64, 8

# Of what lies in a GPU's memory, in bytes: ALIGNMENT in runtime/cuda/context.c.
_DEVICE_ALIGNMENT = 256

# DLPack's type codes.
_TYPE_CODES = {"int": 0, "uint": 1, "float": 2, "bool": 6}


@dataclass(frozen=True)
class Interface:
    """What a package shows to its users: a C identifier, its tensors, and the default of threads (0: all cores)."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    threads: int


@dataclass(frozen=True)
class Memory:
    """Bytes that one context allocates, and that it allocates for each thread; for a GPU, of the GPU's memory.

    `shared` is what all contexts allocate once: a GPU's copy of the weights, which else lie in the library.
    """

    context: int
    thread: int
    shared: int = 0


def tensor_bytes(info: TensorInfo) -> int:
    """The size of a tensor in bytes."""
    return np.dtype(info.dtype).itemsize * math.prod(info.shape)


def memory_of(lowered: LoweredProgram, interface: Interface) -> Memory:
    """The memory that a context needs: the arena, and an aligned copy of each input and output."""
    ports = (*interface.inputs, *interface.outputs)
    copies = sum(aligned(tensor_bytes(port)) for port in ports)
    return Memory(aligned(lowered.arena_bytes) + copies, lowered.thread_bytes)


def device_memory_of(lowered: LoweredProgram, interface: Interface) -> Memory:
    """The same on a GPU: the arena and a copy of each input and output, and the weights once."""
    sizes = [lowered.arena_bytes, *map(tensor_bytes, (*interface.inputs, *interface.outputs))]
    context = sum(math.ceil(size / _DEVICE_ALIGNMENT) * _DEVICE_ALIGNMENT for size in sizes)
    return Memory(context, 0, len(lowered.weights))


def header(
    interface: Interface, title: str, notes: Iterable[str], memory: Memory, gpu: str | None = None
) -> str:
    """NAME.h; `notes` are lines of text on the model, its inputs and its outputs.

    `gpu`: the architecture ("sm_80") where the kernels are a GPU's; `memory` is that of `device_memory_of` then.
    """
    return _render(
        "model.h",
        **_ports(interface),
        title=title,
        notes=tuple(notes),
        threads=interface.threads,
        memory=memory,
        gpu=gpu,
    )


def example(interface: Interface) -> str:
    """example.c: one run from open to destroy."""
    return _render("example.c", **_ports(interface))


def program(lowered: LoweredProgram, interface: Interface, cpu_features: tuple[str, ...]) -> str:
    """program.c: the static program that runtime/lwc_internal.h declares."""
    operands = [call.arguments for call in lowered.calls]
    calls = [
        {"symbol": call.symbol, "first": first, "count": len(call.arguments)}
        for call, first in zip(lowered.calls, _starts(operands), strict=True)
    ]
    return _render(
        "program.c",
        symbols=sorted({call.symbol for call in lowered.calls}),
        calls=calls,
        thread_bytes=lowered.thread_bytes,
        threads=interface.threads,
        cpu_features=cpu_features,
        **_tables(lowered, interface, operands),
    )


def device_program(lowered: LoweredProgram, interface: Interface, code: DeviceCode) -> str:
    """program.c for a GPU: the static program that runtime/cuda/gpu.h declares; one launch for each call."""
    given = [(code.launches[call.symbol], call) for call in lowered.calls]
    operands = [tuple(call.arguments[p] for p in launch.arguments) for launch, call in given]
    launches = [
        {"kernel": launch.kernel, "grid": launch.grid, "block": launch.block, "first": first}
        for (launch, _), first in zip(given, _starts(operands), strict=True)
    ]
    major, minor = code.toolkit
    return _render(
        "device_program.c",
        launches=launches,
        architecture=int(code.architecture.removeprefix("sm_")),
        # As cuDriverGetVersion counts.
        toolkit=1000 * major + 10 * minor,
        weights_bytes=len(lowered.weights),
        **_tables(lowered, interface, operands),
    )


def _tables(
    lowered: LoweredProgram, interface: Interface, operands: Sequence[tuple[int, ...]]
) -> dict[str, Any]:
    """What both kinds of program.c have; `operands` are indices of buffers, call by call."""
    shapes = _Shapes()
    ports = {
        key: [{**port, "rank": len(port["shape"]), "first": shapes.first(port["shape"])} for port in given]
        for key, given in _ports(interface).items()
        if key in ("inputs", "outputs")
    }
    return {
        "name": interface.name,
        "buffers": [_buffer(buffer, shapes) for buffer in lowered.buffers],
        "operands": [operand for call in operands for operand in call],
        "arena_bytes": lowered.arena_bytes,
        "shapes": shapes.values,
        **ports,
    }


def _starts(operands: Sequence[tuple[int, ...]]) -> list[int]:
    """Where each call's operands begin among all."""
    return list(itertools.accumulate(map(len, operands), initial=0))[:-1]


class _Shapes:
    """All shapes of a program in one array, equal ones once."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self._known: dict[tuple[int, ...], int] = {}

    def first(self, shape: tuple[int, ...]) -> int:
        """Where `shape` begins in `values`."""
        if shape not in self._known:
            self._known[shape] = len(self.values)
            self.values += shape or (1,)
        return self._known[shape]


def _buffer(buffer: Buffer, shapes: _Shapes) -> dict[str, Any]:
    kind = buffer.dtype.rstrip("0123456789")
    return {
        "space": f"LWC_{buffer.space.name}",
        "offset": buffer.offset,
        "rank": len(buffer.shape),
        "first": shapes.first(buffer.shape),
        "code": _TYPE_CODES[kind],
        "bits": int(buffer.dtype[len(kind) :] or 8),
    }


def _ports(interface: Interface) -> dict[str, Any]:
    def describe(info: TensorInfo) -> dict[str, Any]:
        return {
            **info.model_dump(),
            "bytes": tensor_bytes(info),
            # The shortest text that is the same float32.
            "scale": str(np.float32(info.scale)) + "f",
            "is_float": info.dtype == "float32",
            "c_type": "float" if info.dtype == "float32" else f"{info.dtype}_t",
            "c_name": f"{interface.name}_{info.name}".upper(),
        }

    return {
        "name": interface.name,
        "inputs": [describe(info) for info in interface.inputs],
        "outputs": [describe(info) for info in interface.outputs],
    }


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(f"{template}.j2").render(**values)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("lwc.package"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        # The text is C, not HTML; every value is an identifier or a number that lwc made, or escaped by `header`.
        autoescape=False,
    )
