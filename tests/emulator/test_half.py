"""binary16 in emulated kernels is what NumPy's is: every number of it, and what floats are rounded to."""

import ctypes
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from lwc.emulator.kernels import emulated_kernels
from lwc.package.toolchain import find_toolchain
from lwc.targets.cuda import cuda_target

_SOURCE = """
extern "C" __global__ void __launch_bounds__(1) widen(float* __restrict__ y, half* __restrict__ x) {
  y[blockIdx.x] = ((float)x[blockIdx.x]);
}
extern "C" __global__ void __launch_bounds__(1) narrow(half* __restrict__ y, float* __restrict__ x) {
  y[blockIdx.x] = ((half)(x[blockIdx.x]));
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    source = files("lwc.cuda").joinpath("half.h").read_text() + _SOURCE
    toolchain, folder = find_toolchain(cuda_target("sm_80")), tmp_path_factory.mktemp("half")
    return ctypes.CDLL(str(emulated_kernels(source, toolchain, Path(folder))))


def run(library: ctypes.CDLL, kernel: str, y: np.ndarray, x: np.ndarray) -> None:
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (y, x)]
    arguments = (ctypes.c_void_p * 2)(*map(ctypes.addressof, pointers))
    grid, block = (ctypes.c_uint * 3)(x.size, 1, 1), (ctypes.c_uint * 3)(1, 1, 1)
    assert library.lwc_emulate(kernel.encode(), grid, block, arguments) == 0


def test_every_half_is_widened_exactly(library: ctypes.CDLL) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    widened = np.empty(halves.size, np.float32)
    run(library, "widen", widened, halves)
    np.testing.assert_array_equal(widened, halves.astype(np.float32))
    assert (np.signbit(widened) == np.signbit(halves)).all()


def test_floats_are_rounded_to_the_nearest_half(library: ctypes.CDLL) -> None:
    finite = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (finite[1:] + finite[:-1]) / 2
    bits = np.random.default_rng(5).integers(0, 1 << 32, 100000, dtype=np.uint32)
    near = [np.nextafter(between, np.float32(side)) for side in (0, np.inf)]
    special = np.array([65519.996, 65520, np.inf, np.nan], np.float32)
    floats = np.concatenate([finite, between, *near, bits.view(np.float32), special])
    floats = np.concatenate([floats, -floats])
    rounded = np.empty(floats.size, np.float16)
    run(library, "narrow", rounded, floats)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = floats.astype(np.float16)
    np.testing.assert_array_equal(rounded, expected)
    numbers = ~np.isnan(expected)
    assert (np.signbit(rounded) == np.signbit(expected))[numbers].all()
