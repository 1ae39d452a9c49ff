"""From scheduled kernels to machine code."""

from typing import Any

from lwc.cuda.find import find_compiler
from lwc.lower.cuda_source import cuda_source
from lwc.lower.device import DeviceCode
from lwc.lower.fast_math import register_exponentials
from lwc.targets.target import Target
from lwc.tvm_api import build_object


def build_kernels(kernels: dict[str, Any], target: Target) -> bytes:
    """One relocatable ELF object with the C symbol `__tvm_ffi_<key>` for each of `kernels`."""
    register_exponentials()
    return build_object(kernels, target)


def build_device_code(kernels: dict[str, Any], target: Target) -> DeviceCode:
    """`kernels` compiled for the GPU of `target`, and their launches.

    Raises ResourceError where there is no compiler, UnsupportedError for a kernel that it refuses.
    """
    assert target.gpu is not None
    register_exponentials()
    source, launches = cuda_source(kernels, target)
    compiler = find_compiler()
    binary = compiler.compile(source, target.gpu.architecture)
    return DeviceCode(target.gpu.architecture, compiler.toolkit, binary.cubin, binary.ptx, source, launches)
