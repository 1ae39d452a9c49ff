"""Emulated kernels do what a GPU's would: threads, barriers, shuffles, shared memory, and what is wrong is said."""

import ctypes
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from lwc.emulator.kernels import emulated_kernels
from lwc.errors import BadInputError, ResourceError
from lwc.package.toolchain import find_toolchain
from lwc.targets.cuda import cuda_target

_SOURCE = """
extern "C" __global__ void __launch_bounds__(64) scale(float* __restrict__ y, float* __restrict__ x) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < 100) y[i] = 2 * x[i];
}
extern "C" __global__ void __launch_bounds__(64) reverse(float* __restrict__ y, float* __restrict__ x) {
  __shared__ alignas(64) float kept[64];
  kept[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
  __syncthreads();
  y[blockIdx.x * 64 + threadIdx.x] = kept[63 - threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(64) hasty(float* __restrict__ y, float* __restrict__ x) {
  __shared__ alignas(64) float kept[64];
  kept[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = kept[63 - threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(64) sums(float* __restrict__ y, float* __restrict__ x) {
  float sum = x[threadIdx.x];
  unsigned mask = __activemask();
  for (int d = 16; d > 0; d /= 2)
    sum += __shfl_down_sync(mask, sum, d, 32);
  y[threadIdx.x] = __shfl_sync(mask, sum, 0);
}
extern "C" __global__ void __launch_bounds__(64) half_a_warp(float* __restrict__ y, float* __restrict__ x) {
  float value = x[threadIdx.x];
  if (threadIdx.x % 32 < 16) {
    unsigned mask = __activemask();
    value = mask == 0xffff ? __shfl_xor_sync(mask, value, 1) : -1;
  }
  y[threadIdx.x] = value;
}
extern "C" __global__ void __launch_bounds__(64) apart(float* __restrict__ y, float* __restrict__ x) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
  y[threadIdx.x] = x[threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(64) gone(float* __restrict__ y, float* __restrict__ x) {
  if (threadIdx.x == 5) return;
  __syncthreads();
  y[threadIdx.x] = x[threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(64) alone(float* __restrict__ y, float* __restrict__ x) {
  y[threadIdx.x] = threadIdx.x == 0 ? __shfl_sync(0xffffffffu, x[0], 1) : 0;
}
extern "C" __global__ void __launch_bounds__(24) place(int* __restrict__ y) {
  int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  y[block * 24 + thread] = 1000 * blockIdx.z + 100 * threadIdx.z + 10 * threadIdx.y + threadIdx.x;
}
extern "C" __global__ void __launch_bounds__(1) products(int* __restrict__ y) {
  y[0] = __dp4a(0x01ff0203, 0x7f8002fd, 1);
  *(int4*)(y + 4) = make_int4(1, 2, 3, 4);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    toolchain = find_toolchain(cuda_target("sm_80"))
    return ctypes.CDLL(str(emulated_kernels(_SOURCE, toolchain, tmp_path_factory.mktemp("emulated"))))


@pytest.fixture(params=["forward", "backward"], autouse=True)
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LWC_EMULATOR_ORDER", request.param)
    return str(request.param)


def run(library: ctypes.CDLL, kernel: str, *arrays: np.ndarray, grid: int = 1, block: int = 64) -> int:
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
    arguments = (ctypes.c_void_p * len(arrays))(*map(ctypes.addressof, pointers))
    extents = (ctypes.c_uint * 3)(grid, 1, 1), (ctypes.c_uint * 3)(block, 1, 1)
    return int(library.lwc_emulate(kernel.encode(), *extents, arguments))


def numbers(count: int = 128) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(count, np.float32), np.arange(1, count + 1, dtype=np.float32)


def test_kernel_without_barriers(library: ctypes.CDLL) -> None:
    y, x = numbers()
    assert run(library, "scale", y, x, grid=2) == 0
    assert (y[:100] == 2 * x[:100]).all()
    assert not y[100:].any()


def test_barrier(library: ctypes.CDLL) -> None:
    y, x = numbers()
    assert run(library, "reverse", y, x, grid=2) == 0
    assert (y == np.concatenate([x[63::-1], x[:63:-1]])).all()


def test_missing_barrier_gives_nan(library: ctypes.CDLL) -> None:
    y, x = numbers(64)
    assert run(library, "hasty", y, x) == 0
    assert np.isnan(y).sum() == 32


def test_shuffles(library: ctypes.CDLL) -> None:
    y, x = numbers(64)
    assert run(library, "sums", y, x) == 0
    assert (y == np.repeat(x.reshape(2, 32).sum(1), 32)).all()


def test_lanes_that_take_a_branch_meet_there(library: ctypes.CDLL) -> None:
    y, x = numbers(64)
    assert run(library, "half_a_warp", y, x) == 0
    swapped = x.reshape(-1, 2)[:, ::-1].ravel()
    assert (y == np.where(np.arange(64) % 32 < 16, swapped, x)).all()


@pytest.mark.parametrize("kernel", ["apart", "gone", "alone"])
def test_threads_that_wait_for_ever(library: ctypes.CDLL, kernel: str) -> None:
    assert run(library, kernel, *numbers(64)) == 3
    y, x = numbers()
    assert run(library, "reverse", y, x, grid=2) == 0, "and the next launch runs"


def test_what_cannot_be_launched(library: ctypes.CDLL) -> None:
    assert run(library, "nothing", *numbers()) == 1
    assert run(library, "scale", *numbers(), block=65) == 2
    assert library.lwc_emulates(b"scale") == 1
    assert library.lwc_emulates(b"nothing") == 0


def test_grids_and_blocks_of_three_axes(library: ctypes.CDLL) -> None:
    y = np.zeros(2 * 24, np.int32)
    pointer = ctypes.c_void_p(y.ctypes.data)
    arguments = (ctypes.c_void_p * 1)(ctypes.addressof(pointer))
    grid, block = (ctypes.c_uint * 3)(1, 1, 2), (ctypes.c_uint * 3)(4, 3, 2)
    assert library.lwc_emulate(b"place", grid, block, arguments) == 0
    places = [
        1000 * b + 100 * z + 10 * y + x for b in (0, 1) for z in (0, 1) for y in (0, 1, 2) for x in range(4)
    ]
    assert y.tolist() == places


def test_vectors_and_dot_products(library: ctypes.CDLL) -> None:
    y = np.zeros(8, np.int32)
    assert run(library, "products", y, block=1) == 0
    assert y.tolist() == [1 + 127 * 1 + 128 * 1 + 2 * 2 - 3 * 3, 0, 0, 0, 1, 2, 3, 4]


@pytest.mark.skipif(find_spec("ziglang") is None, reason="ziglang is not installed")
def test_library_for_another_processor(tmp_path: Path) -> None:
    toolchain = find_toolchain(cuda_target("sm_87"))
    library = emulated_kernels(_SOURCE, toolchain, tmp_path, native=False)
    arm = 183  # EM_AARCH64
    assert int.from_bytes(library.read_bytes()[18:20], "little") == arm


def test_source_that_is_no_c(tmp_path: Path) -> None:
    broken = _SOURCE.replace("2 * x[i]", "2 * nothing[i]")
    with pytest.raises(ResourceError, match="nothing"):
        emulated_kernels(broken, find_toolchain(cuda_target("sm_80")), tmp_path)


def test_a_source_without_kernels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="has no kernel"):
        emulated_kernels("int not_a_kernel;\n", find_toolchain(cuda_target("sm_80")), tmp_path)
