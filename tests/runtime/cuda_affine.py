"""A program of three kernels for a GPU, written by hand: z = -2 (x + bias), w = m + 1."""

import struct
from pathlib import Path

import numpy as np

from lwc.emulator.driver import compile_driver
from lwc.lower.device import DeviceCode, Launch
from lwc.lower.program import Buffer, KernelCall, LoweredProgram, Space
from lwc.package import emit
from lwc.package.link import compile_device_sources
from lwc.package.manifest import TensorInfo
from lwc.package.toolchain import Toolchain

HERE = Path(__file__).parent
N, BLOCK = 192, 64
BIAS = (np.arange(N) % 7).astype(np.float32)

SOURCE = """
extern "C" __global__ void __launch_bounds__(64) affine(float* y, const float* x, const float* bias) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    y[i] = 2 * (x[i] + bias[i]);
}
extern "C" __global__ void __launch_bounds__(64) negate(float* z, const float* y) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    z[i] = -y[i];
}
extern "C" __global__ void __launch_bounds__(64) count_up(unsigned char* w, const unsigned char* m) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    w[i] = m[i] + 1;
}
"""


def cubin(architecture: int) -> bytes:
    """The header of a cubin of CUDA 13, which is all that the stand-in looks at."""
    identity = b"\x7fELF\x02\x01\x01\x41\x08".ljust(16, b"\0")
    return identity + struct.pack("<HHIQQQIHHHHHH", 2, 190, 1, 0, 0, 0, architecture << 8, 64, 0, 0, 0, 0, 0)


def device_code(architecture: int = 80, toolkit: tuple[int, int] = (13, 0)) -> DeviceCode:
    """The kernels' code, their operands in another order than those of the calls."""
    grid, block = (N // BLOCK, 1, 1), (BLOCK, 1, 1)
    return DeviceCode(
        architecture=f"sm_{architecture}",
        toolkit=toolkit,
        binary=cubin(architecture),
        ptx=f".version 9.0\n.target sm_{architecture}\n.address_size 64\n".encode(),
        source=SOURCE,
        launches={
            "first": Launch("affine", grid, block, (2, 0, 1)),
            "second": Launch("negate", grid, block, (1, 0)),
            "third": Launch("count_up", grid, block, (1, 0)),
        },
    )


def lowered_program() -> LoweredProgram:
    """x, bias -> y -> z; m -> w. The weights begin at an offset."""
    return LoweredProgram(
        buffers=(
            Buffer(Space.INPUT, 0, (N,), "float32"),
            Buffer(Space.INPUT, 1, (N,), "uint8"),
            Buffer(Space.WEIGHTS, 64, (N,), "float32"),
            Buffer(Space.ARENA, 64, (N,), "float32"),
            Buffer(Space.OUTPUT, 0, (N,), "float32"),
            Buffer(Space.OUTPUT, 1, (N,), "uint8"),
        ),
        calls=(KernelCall("first", (0, 2, 3)), KernelCall("second", (3, 4)), KernelCall("third", (1, 5))),
        inputs=(0, 1),
        outputs=(4, 5),
        weights=bytes(64) + BIAS.tobytes(),
        arena_bytes=64 + 4 * N,
        thread_bytes=0,
        kernels={},
    )


def interface() -> emit.Interface:
    """Its tensors."""

    def real(name: str) -> TensorInfo:
        return TensorInfo(name=name, dtype="float32", shape=(N,), layout="dims")

    def integers(name: str) -> TensorInfo:
        return TensorInfo(name=name, dtype="uint8", shape=(N,), layout="dims")

    return emit.Interface(
        "affine",
        (real("x"), integers("m")),
        (real("z"), integers("w")),
        0,
    )


def compile_library(toolchain: Toolchain, folder: Path, code: DeviceCode) -> tuple[str, ...]:
    """Write the header and compile the library's parts in `folder`; the names of the object files."""
    lowered, shown = lowered_program(), interface()
    memory = emit.device_memory_of(lowered, shown)
    (folder / "affine.h").write_text(emit.header(shown, "affine", ["A test."], memory, code.architecture))
    program = emit.device_program(lowered, shown, code)
    return compile_device_sources(toolchain, folder, "affine", program, lowered.weights, code)


def compile_stand_in(toolchain: Toolchain, folder: Path) -> None:
    """Compile the stand-in for the driver, and kernels.so for it, in `folder`."""
    compile_driver(toolchain, folder)
    toolchain.run(["-shared", "-fPIC", "-O1", "-o", "kernels.so", str(HERE / "cuda_kernels.c")], folder)
