"""CUDA C by nvcc and by NVRTC: both make machine code and PTX for the GPU that is named."""

import shutil
import struct

import pytest

from lwc.cuda import find, nvcc, nvrtc
from lwc.cuda.binary import Compiler
from lwc.errors import ResourceError, UnsupportedError

SOURCE = 'extern "C" __global__ void twice(float* __restrict__ x) { x[threadIdx.x] *= 2.0f; }'


@pytest.fixture(params=["nvcc", "nvrtc"])
def compiler(request: pytest.FixtureRequest) -> Compiler:
    found: Compiler | None = nvcc.find_nvcc() if request.param == "nvcc" else nvrtc.find_nvrtc()
    if found is None:
        pytest.skip(f"no {request.param}")
    assert found.name == request.param
    assert found.toolkit >= (12, 0)
    return found


def architecture_of(cubin: bytes) -> int:
    """The number in the flags of an ELF file for CUDA (e_flags; its second byte in CUDA 13's version of the ABI)."""
    assert cubin[:4] == b"\x7fELF"
    flags: int = struct.unpack_from("<I", cubin, 48)[0]
    return flags & 0xFF if cubin[8] < 8 else flags >> 8 & 0xFF


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
def test_machine_code_and_ptx_are_for_the_named_gpu(compiler: Compiler, architecture: str) -> None:
    binary = compiler.compile(SOURCE, architecture)
    number = architecture.removeprefix("sm_")
    assert architecture_of(binary.cubin) == int(number)
    text = binary.ptx.decode()
    assert f".target sm_{number}" in text
    assert ".visible .entry twice(" in text
    assert "\0" not in text


def test_what_is_wrong_in_the_source_is_said_in_one_line(compiler: Compiler) -> None:
    with pytest.raises(UnsupportedError, match='identifier "missing" is undefined') as raised:
        compiler.compile(SOURCE.replace("2.0f", "missing"), "sm_80")
    assert "\n" not in str(raised.value)


def test_a_gpu_that_the_compiler_does_not_know_is_an_error(compiler: Compiler) -> None:
    with pytest.raises(UnsupportedError, match="sm_11"):
        compiler.compile(SOURCE, "sm_11")


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(find, "find_nvrtc", lambda: None)
    with pytest.raises(ResourceError, match=r"pip install lwc\[cuda\]"):
        find.find_compiler()


def test_an_error_is_said_and_not_a_warning_before_it(compiler: Compiler) -> None:
    """TVM's hexadecimal numbers make warnings of their own."""
    lines = ["float x = 0x1.3333340000000001p-1f;", "alignas(64) float a/b[1];", "x[0] = 1; }"]
    source = SOURCE.split("{")[0].replace("x)", "y)") + "{" + " ".join(lines)
    with pytest.raises(UnsupportedError) as raised:
        compiler.compile(source, "sm_80")
    assert "error" in str(raised.value)
    assert "warning" not in str(raised.value)
