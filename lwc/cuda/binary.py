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


def first_error(log: str) -> str:
    """The line of a compiler's `log` that says why it failed; empty where it says nothing."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line and "warning" not in line]
    return (errors or lines or [""])[0][:300]
