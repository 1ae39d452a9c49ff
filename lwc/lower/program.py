"""What lowering hands to packaging: kernels, static buffers, the calls in order."""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np


class Space(IntEnum):
    """Where a buffer lives; the values are those of `lwc_space` in runtime/lwc_internal.h."""

    INPUT = 0
    OUTPUT = 1
    WEIGHTS = 2
    ARENA = 3


@dataclass(frozen=True)
class Buffer:
    """One tensor operand of a kernel.

    `offset` is in bytes from the start of the arena or of the weights;
    for INPUT and OUTPUT it is the index of the input or output.
    """

    space: Space
    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class KernelCall:
    """A call of the kernel `symbol` on buffers, given by their index; outputs come last.

    `layer`: the model's own name of what it computes, empty where that is not known; `macs`: multiply-accumulates.
    """

    symbol: str
    arguments: tuple[int, ...]
    layer: str = ""
    macs: int = 0


@dataclass(frozen=True)
class LoweredProgram:
    """A static program: calls run in order over buffers in the inputs, outputs, weights and one arena.

    `inputs` and `outputs` are indices into `buffers`, in the model's order.
    `thread_bytes` is what the kernels borrow for each thread, at most, in aligned blocks.
    `kernels` are the scheduled TensorIR functions behind the symbols in `calls`: `__tvm_ffi_` and a key.
    """

    buffers: tuple[Buffer, ...]
    calls: tuple[KernelCall, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: bytes
    arena_bytes: int
    thread_bytes: int
    kernels: dict[str, Any]
