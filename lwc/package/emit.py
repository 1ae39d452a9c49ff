"""The C text of a package: the model's header, its static program, and an example."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import numpy as np

from lwc.lower.memory import aligned
from lwc.lower.program import Buffer, LoweredProgram
from lwc.package.manifest import TensorInfo

# Of inputs and of outputs, and their axes: LWC_MAX_TENSORS in runtime/lwc_internal.h, and the header's lwc_tensor_info.
MAX_TENSORS, MAX_RANK = 64, 8

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
    """Bytes that one context allocates, and that it allocates for each thread."""

    context: int
    thread: int


def tensor_bytes(info: TensorInfo) -> int:
    """The size of a tensor in bytes."""
    return np.dtype(info.dtype).itemsize * math.prod(info.shape)


def memory_of(lowered: LoweredProgram, interface: Interface) -> Memory:
    """The memory that a context needs: the arena, and an aligned copy of each input and output."""
    ports = (*interface.inputs, *interface.outputs)
    copies = sum(aligned(tensor_bytes(port)) for port in ports)
    return Memory(aligned(lowered.arena_bytes) + copies, lowered.thread_bytes)


def header(interface: Interface, title: str, notes: Iterable[str], memory: Memory) -> str:
    """NAME.h; `notes` are lines of text on the model, its inputs and its outputs."""
    return _render(
        "model.h",
        **_ports(interface),
        title=title,
        notes=tuple(notes),
        threads=interface.threads,
        memory=memory,
    )


def example(interface: Interface) -> str:
    """example.c: one run from open to destroy."""
    return _render("example.c", **_ports(interface))


def program(lowered: LoweredProgram, interface: Interface, cpu_features: tuple[str, ...]) -> str:
    """program.c: the static program that runtime/lwc_internal.h declares."""
    shapes = _Shapes()
    starts = itertools.accumulate((len(call.arguments) for call in lowered.calls), initial=0)
    calls = [
        {"symbol": call.symbol, "first": first, "count": len(call.arguments)}
        for call, first in zip(lowered.calls, starts, strict=False)
    ]
    ports = {
        key: [{**port, "rank": len(port["shape"]), "first": shapes.first(port["shape"])} for port in given]
        for key, given in _ports(interface).items()
        if key in ("inputs", "outputs")
    }
    return _render(
        "program.c",
        name=interface.name,
        symbols=sorted({call.symbol for call in lowered.calls}),
        buffers=[_buffer(buffer, shapes) for buffer in lowered.buffers],
        calls=calls,
        operands=[argument for call in lowered.calls for argument in call.arguments],
        arena_bytes=lowered.arena_bytes,
        thread_bytes=lowered.thread_bytes,
        threads=interface.threads,
        cpu_features=cpu_features,
        shapes=shapes.values,
        **ports,
    )


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
