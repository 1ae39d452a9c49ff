"""From scheduled kernels to machine code."""

from typing import Any

from lwc.lower.fast_math import register_exponentials
from lwc.targets.target import Target
from lwc.tvm_api import build_object


def build_kernels(kernels: dict[str, Any], target: Target) -> bytes:
    """One relocatable ELF object with the C symbol `__tvm_ffi_<key>` for each of `kernels`."""
    register_exponentials()
    return build_object(kernels, target)
