"""What a GPU executes: kernels compiled for it, and how each is launched."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """One launch of `kernel`, a symbol of the device code, on a `grid` of blocks of `block` threads (x, y, z).

    `arguments` are the kernel's parameters, all of them pointers: positions among the operands of the call.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class DeviceCode:
    """The kernels of a program, compiled by CUDA release `toolkit`, and their launches by the symbols of its calls.

    `binary` is machine code (a cubin) for GPUs of `architecture` ("sm_80") and of later ones of the same generation;
    `ptx` is for all later ones, whose driver compiles it; `source` is the CUDA C that both were made from.
    """

    architecture: str
    toolkit: tuple[int, int]
    binary: bytes
    ptx: bytes
    source: str
    launches: Mapping[str, Launch]
