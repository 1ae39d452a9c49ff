"""Which compiler makes machine code of CUDA C here."""

from lwc.cuda.binary import Compiler
from lwc.cuda.nvcc import find_nvcc
from lwc.cuda.nvrtc import find_nvrtc
from lwc.errors import ResourceError


def find_compiler() -> Compiler:
    """`nvcc` where it is on the path, else NVRTC. Raises ResourceError, saying what to install, where neither is."""
    found = find_nvcc() or find_nvrtc()
    if found is None:
        raise ResourceError("no compiler for CUDA: `pip install lwc[cuda]`, or install nvcc")
    return found
