"""Depthwise convolution on a GPU: a thread computes neighbouring pixels of a few channels in registers.

Weights lie as [kh, kw, C]. Neighbouring threads take neighbouring channels, so that a warp reads whole lines; each row
of the window is read once for all pixels of a thread, and what several threads read comes from the first-level cache.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.gpu import Gpu
from lwc.targets.kernels import depthwise
from lwc.targets.kernels.conv2d import Window, Windowed
from lwc.targets.kernels.epilogue import Epilogue, at
from lwc.targets.kernels.padding import pixel_or_zero
from lwc.targets.kernels.tiling import round_up
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te

# (channels, pixels) of a thread, from the fewest reads a result to the most threads.
_TILES = ((4, 4), (4, 2), (2, 2), (2, 1), (1, 1))
# Of each multiprocessor: as many as hide the time that reads take.
THREADS_TO_HIDE_LATENCY = 512
BLOCK_THREADS = 128


@dataclass(frozen=True)
class Depthwise(Windowed):
    """y[n, h, w, c] = epilogue(sum over the window of x w[c] + bias[c], residual), NHWC in and out."""

    batch: int
    channels: int
    input_size: tuple[int, int]
    window: Window
    lanes: int  # channels of a thread
    pixels: int  # neighbouring columns of a thread
    epilogue: Epilogue
    dtype: str  # of x, the residual and y

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.batch * math.prod(self.output_size) * self.channels * math.prod(self.window.kernel)


def plan(
    shape: tuple[int, ...], window: Window, epilogue: Epilogue, target: Target, kernel: str = "auto"
) -> Depthwise:
    """The kernel for x of `shape` (N, H, W, C) on the GPU of `target`; `kernel` is a choice that only CPUs have."""
    assert target.gpu is not None
    batch, height, width, channels = shape
    oh, ow = window.output_size(height, width)
    lanes, pixels = thread_tile(batch * oh, ow, channels, target.gpu)
    size, dtype = (height, width), target.gpu.numbers
    return Depthwise(batch, channels, size, window, lanes, pixels, epilogue, dtype)


def thread_tile(rows: int, columns: int, channels: int, gpu: Gpu) -> tuple[int, int]:
    """Channels and neighbouring pixels of a thread, for `rows` x `columns` pixels of `channels`."""
    enough = gpu.multiprocessors * THREADS_TO_HIDE_LATENCY
    fitting = [(lanes, pixels) for lanes, pixels in _TILES if channels % lanes == 0]
    return next(
        (
            (lanes, pixels)
            for lanes, pixels in fitting
            if rows * -(-columns // pixels) * (channels // lanes) >= enough
        ),
        fitting[-1],
    )


def pack(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (C, 1, kh, kw) in the kernel's order [kh, kw, C]: in float32 in any case, they are few."""
    return depthwise.pack(weight)


def compute(kernel: Depthwise, x: Any, weight: Any, bias: Any, residual: Any = None) -> Any:
    """The tensor expression; x (N, H, W, C), weight packed, bias (C), residual like y."""
    (kh, kw), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    oh, ow = kernel.output_size
    columns = round_up(ow, kernel.pixels)
    height, width = (oh - 1) * sh + dh * (kh - 1) + 1, (columns - 1) * sw + dw * (kw - 1) + 1
    top, _, left, _ = kernel.window.padding
    source = te.compute(
        (kernel.batch, height, width, kernel.channels),
        lambda n, h, w, c: pixel_or_zero(x, n, h - top, w - left, c).astype("float32"),
        name="padded",
    )
    ky, kx = te.reduce_axis((0, kh), name="ky"), te.reduce_axis((0, kw), name="kx")
    product = te.compute(
        (kernel.batch, oh, columns, kernel.channels),
        lambda n, h, w, c: te.sum(
            source[n, h * sh + ky * dh, w * sw + kx * dw, c] * weight[ky, kx, c].astype("float32"),
            axis=[ky, kx],
        ),
        name="product",
    )
    return te.compute(
        (kernel.batch, oh, ow, kernel.channels),
        lambda n, h, w, c: kernel.epilogue(product[n, h, w, c] + bias[c], at(residual, n, h, w, c)).astype(
            x.dtype
        ),
        name="result",
    )


def schedule(sch: Schedule, kernel: Depthwise) -> None:
    """Threads, and what each keeps in registers, for the function that `compute` gave."""
    schedule_threads(sch, kernel, kernel.pixels, kernel.lanes, in_vectors=True)


def schedule_threads(sch: Schedule, kernel: Windowed, pixels: int, lanes: int, in_vectors: bool) -> None:
    """The same for stages `padded`, `product` and `result`, where a thread computes `pixels` x `lanes` results.

    `in_vectors`: it does so in vectors, and does not only read in vectors.
    """
    padded, product, result = (sch.get_sblock(name) for name in ("padded", "product", "result"))
    n, h, w, c, ky, kx = sch.get_loops(product)
    column, pixel = sch.split(w, [None, pixels])
    channel, lane = sch.split(c, [None, lanes])
    sch.reorder(n, h, column, channel, ky, kx, pixel, lane)
    block, thread = sch.split(sch.fuse(n, h, column, channel), [None, BLOCK_THREADS])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.set_scope(product, 0, "local")
    sch.set_scope(padded, 0, "local")
    sch.reverse_compute_at(result, thread, preserve_unit_loops=True)
    sch.compute_at(padded, ky, preserve_unit_loops=True)
    read, *computed = sch.get_loops(padded), sch.get_loops(result), [pixel, lane]
    for loops in (read, *computed):
        sch.unroll(loops[-2])
        (sch.vectorize if in_vectors or loops is read else sch.unroll)(loops[-1])
    sch.unroll(kx)
    if math.prod(kernel.window.kernel) <= depthwise.UNROLLED:
        sch.unroll(ky)
    sch.decompose_reduction(product, ky)
