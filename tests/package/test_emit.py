"""The C text of a package: it compiles as C11 and as C++, and says what the tensors are."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from lwc.lower.program import Buffer, KernelCall, LoweredProgram, Space
from lwc.package import emit
from lwc.package.manifest import TensorInfo

RUNTIME = Path(__file__).parents[2] / "lwc" / "runtime"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")


def tensor(name: str, *shape: int, layout: str = "dims") -> TensorInfo:
    return TensorInfo(name=name, dtype="float32", shape=shape, layout=layout)


def integers(name: str, *shape: int) -> TensorInfo:
    return TensorInfo(name=name, dtype="uint8", shape=shape, layout="dims", scale=0.25, zero_point=128)


IMAGE = tensor("image", 1, 3, 8, 8, layout="NCHW")
# Names that the example's own variables could have, and a scalar.
INTERFACES = {
    "one": emit.Interface("net", (IMAGE,), (tensor("logits", 1, 10, layout="N,classes"),), 0),
    "several": emit.Interface("net", (IMAGE, tensor("mask", 7)), (tensor("a", 2, 2), tensor("b")), 3),
    "integers": emit.Interface(
        "net",
        (integers("image", 1, 3, 5, 5), tensor("mask", 7)),
        (integers("logits", 1, 3), integers("b"), tensor("c", 2)),
        0,
    ),
    "awkward names": emit.Interface(
        "lwc",
        tuple(tensor(name, 2) for name in ("model", "context", "inputs", "outputs", "fail", "i", "size_t")),
        tuple(tensor(name, 2) for name in ("largest", "printf", "stderr", "null", "bytes", "lwc_model")),
        0,
    ),
}


@pytest.fixture
def compiler() -> str:
    path = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if path is None:
        pytest.skip("no C compiler on this machine")
    return path


def header(interface: emit.Interface) -> str:
    return emit.header(
        interface, "net, compiled", ["Weights: random."], emit.Memory(context=4096, thread=128)
    )


def check_syntax(compiler: str, folder: Path, source: str, *options: str) -> None:
    command = [compiler, *options, *WARNINGS, "-fsyntax-only", f"-I{RUNTIME}", source]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", INTERFACES)
def test_the_header_and_the_example_compile(compiler: str, tmp_path: Path, kind: str) -> None:
    interface = INTERFACES[kind]
    (tmp_path / f"{interface.name}.h").write_text(header(interface))
    (tmp_path / "example.c").write_text(emit.example(interface))
    (tmp_path / "alone.c").write_text(
        f'#include "{interface.name}.h"\n#include "{interface.name}.h"\nint x;\n'
    )
    check_syntax(compiler, tmp_path, "example.c", "-std=c11")
    check_syntax(compiler, tmp_path, "alone.c", "-std=c11")
    check_syntax(compiler, tmp_path, "alone.c", "-x", "c++", "-std=c++17")


def test_headers_of_two_models_go_together(compiler: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        text = header(emit.Interface(name, (IMAGE,), (tensor("y", 4),), 0))
        (tmp_path / f"{name}.h").write_text(text)
    (tmp_path / "both.c").write_text('#include "first.h"\n#include "second.h"\nlwc_status s = LWC_OK;\n')
    check_syntax(compiler, tmp_path, "both.c", "-std=c11")
    check_syntax(compiler, tmp_path, "both.c", "-x", "c++", "-std=c++17")


def test_the_header_tells_sizes_layouts_threads_and_memory() -> None:
    text = header(INTERFACES["several"])
    assert "#define NET_IMAGE_BYTES 768 /* input 0: float32, NCHW 1 x 3 x 8 x 8 */" in text
    assert "#define NET_MASK_BYTES 28 /* input 1: float32, dims 7 */" in text
    assert "#define NET_B_BYTES 4 /* output 1: float32, dims  */" in text
    assert "0: 3, as compiled" in text
    assert "takes 4096 bytes, and 128 more for each thread" in text
    assert "0: as many as the process has cores" in header(INTERFACES["one"])
    assert "Weights: random." in text


def test_the_header_tells_what_integers_mean() -> None:
    lines = header(INTERFACES["integers"]).splitlines()
    assert "#define NET_IMAGE_BYTES 75 /* input 0: uint8, dims 1 x 3 x 5 x 5 */" in lines
    assert "#define NET_IMAGE_SCALE 0.25f /* real number = scale * (integer - zero point) */" in lines
    assert "#define NET_IMAGE_ZERO_POINT 128" in lines
    assert "#define NET_LOGITS_ZERO_POINT 128" in lines
    assert not any("NET_MASK_SCALE" in line or "NET_C_ZERO_POINT" in line for line in lines)


def test_a_scale_in_the_header_is_the_same_float32(rng: torch.Generator) -> None:
    for value in torch.randn(100, generator=rng).exp().tolist():
        info = integers("x", 1).model_copy(update={"scale": value})
        text = header(emit.Interface("net", (info,), (tensor("y"),), 0))
        (found,) = re.findall(r"NET_X_SCALE (\S+)f ", text)
        assert np.float32(found) == np.float32(value)


@pytest.fixture
def lowered() -> LoweredProgram:
    """y = k(k(x, w)), with an intermediate value in the arena."""
    buffers = (
        Buffer(Space.INPUT, 0, (1, 3, 8, 8), "float32"),
        Buffer(Space.WEIGHTS, 64, (3, 8, 8), "float32"),
        Buffer(Space.ARENA, 128, (1, 3, 8, 8), "float32"),
        Buffer(Space.ARENA, 0, (3, 8, 8), "int64"),
        Buffer(Space.OUTPUT, 0, (), "float32"),
        Buffer(Space.ARENA, 896, (3,), "bool"),
    )
    calls = (KernelCall("__tvm_ffi_k", (0, 1, 2)), KernelCall("__tvm_ffi_other", (2, 3, 5, 4)))
    return LoweredProgram(buffers, calls, (0,), (4,), bytes(832), 960, 0, {})


def test_the_static_program_compiles(compiler: str, tmp_path: Path, lowered: LoweredProgram) -> None:
    interface = emit.Interface("net", (IMAGE,), (tensor("y"),), 2)
    text = emit.program(lowered, interface, ("avx2", "fma"))
    (tmp_path / "program.c").write_text(text)
    check_syntax(compiler, tmp_path, "program.c", "-std=c11")


def test_the_static_program_says_what_was_lowered(lowered: LoweredProgram) -> None:
    interface = emit.Interface("net", (IMAGE,), (tensor("y"),), 2)
    lines = emit.program(lowered, interface, ("avx2", "fma")).splitlines()
    # Equal shapes are stored once; a scalar has one that nobody reads.
    assert "static const int64_t shapes[] = { 1, 3, 8, 8, 1, 3, 8, 8, 3 };" in lines
    assert "static const uint32_t operands[] = { 0, 1, 2, 2, 3, 5, 4 };" in lines
    assert "    { __tvm_ffi_k, 0, 3 }," in lines
    assert "    { __tvm_ffi_other, 3, 4 }," in lines
    assert "    { LWC_WEIGHTS, 64u, 3, { 2, 32, 1 }, shapes + 5 }," in lines
    assert "    { LWC_ARENA, 0u, 3, { 0, 64, 1 }, shapes + 5 }," in lines
    assert "    { LWC_ARENA, 896u, 1, { 6, 8, 1 }, shapes + 8 }," in lines
    assert "    { LWC_OUTPUT, 0u, 0, { 2, 32, 1 }, shapes + 4 }," in lines
    assert '    { "image", "NCHW", 4, shapes + 0, 768u, 1, 1.0f, 0 },' in lines
    assert 'static const char *const cpu_features[] = { "avx2", "fma", NULL };' in lines
    assert "    .threads = 2," in lines
    assert "    .arena_bytes = 960u," in lines


def test_the_same_program_gives_the_same_text(lowered: LoweredProgram) -> None:
    interface = emit.Interface("net", (IMAGE,), (tensor("y"),), 0)
    assert emit.program(lowered, interface, ()) == emit.program(lowered, interface, ())
    # Without features to check the list is empty, not absent.
    assert "cpu_features[] = { NULL };" in emit.program(lowered, interface, ())


def test_a_context_holds_the_arena_and_a_copy_of_each_tensor(lowered: LoweredProgram) -> None:
    interface = emit.Interface("net", (IMAGE,), (tensor("y"),), 0)
    assert emit.tensor_bytes(IMAGE) == 768
    assert emit.memory_of(lowered, interface) == emit.Memory(960 + 768 + 64, lowered.thread_bytes)
