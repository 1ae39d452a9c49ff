"""What a compiler of CUDA C gives."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Binary:
    """Machine code for one architecture (`cubin`, an ELF file) and the PTX that it was assembled from."""

    cubin: bytes
    ptx: bytes


class Compiler(Protocol):
    """A compiler of CUDA C; `toolkit` is its CUDA release, (12, 9)."""

    @property
    def name(self) -> str: ...

    @property
    def toolkit(self) -> tuple[int, int]: ...

    def compile(self, source: str, architecture: str) -> Binary: ...
