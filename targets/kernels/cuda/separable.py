"""Depthwise convolution and the pointwise one that reads it, in one kernel on a GPU.

A block multiplies its pixels' depthwise results with the pointwise weights. It computes these results itself, for a
chunk of channels at a time, on their way into shared memory: the tensor between the convolutions never exists. Blocks
of other output channels compute the same results again.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels import depthwise
from lwc.targets.kernels.conv2d import Window, Windowed
from lwc.targets.kernels.cuda.block_tile import (
    BlockTile,
    lanes_of,
    schedule_tile_product,
    tile_product,
)
from lwc.targets.kernels.cuda.gemm import pack_tiles
from lwc.targets.kernels.cuda.separable_cost import separable_tile
from lwc.targets.kernels.epilogue import Epilogue, at
from lwc.targets.kernels.padding import pixel_or_zero
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te


@dataclass(frozen=True)
class Separable(Windowed):
    """y[n, h, w, o] = epilogue(sum over c of z[n, h, w, c] w[c, o] + bias[o], residual), z the depthwise result."""

    batch: int
    channels: int
    outputs: int
    input_size: tuple[int, int]
    window: Window
    tile: BlockTile  # rows are output pixels
    window_epilogue: Epilogue
    epilogue: Epilogue
    dtype: str  # of x, the weights, the residual and y

    @property
    def pixels(self) -> int:
        """Output pixels of all images."""
        return self.batch * math.prod(self.output_size)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, of both convolutions; those that blocks repeat are counted once."""
        return self.pixels * self.channels * (math.prod(self.window.kernel) + self.outputs)

    @property
    def stored_columns(self) -> int:
        """The channels of the result."""
        return self.outputs

    @property
    def extents(self) -> tuple[int, int]:
        """The shape of the result and of what is added to it."""
        return self.pixels, self.outputs


def plan(
    shape: tuple[int, ...],
    outputs: int,
    window: Window,
    epilogues: tuple[Epilogue, Epilogue],
    target: Target,
) -> Separable:
    """The kernel for x of `shape` (N, H, W, C) and `outputs` channels on the GPU of `target`; epilogues in order."""
    assert target.gpu is not None
    batch, height, width, channels = shape
    tile = separable_tile(shape, window, outputs, target.gpu)
    size, dtype = (height, width), target.gpu.numbers
    return Separable(batch, channels, outputs, size, window, tile, *epilogues, dtype)


def pack(
    kernel: Separable, window_weight: NDArray[np.float32], weight: NDArray[np.float32]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights (C, 1, kh, kw) and (O, C) in the kernel's order: [kh, kw, C] and [O/columns, C, columns]."""
    packed = depthwise.pack(window_weight), pack_tiles(weight, kernel.tile)
    return packed[0].astype(kernel.dtype), packed[1].astype(kernel.dtype)


def compute(
    kernel: Separable,
    x: Any,
    window_weight: Any,
    window_bias: Any,
    weight: Any,
    bias: Any,
    residual: Any = None,
) -> Any:
    """The tensor expression, (pixels, O); x (N, H, W, C), weights packed, biases (C) and (O), residual like y."""
    columns = kernel.tile.columns
    product = tile_product(
        kernel.tile,
        (1, kernel.pixels, kernel.channels, kernel.outputs),
        lambda _, i, k: kernel.window_epilogue(_window(kernel, x, window_weight, i, k) + window_bias[k]),
        lambda _, k, j: weight[j // columns, k, j % columns].astype("float32"),
    )
    return te.compute(
        kernel.extents,
        lambda i, j: kernel.epilogue(product[0, i, j] + bias[j], at(residual, i, j)).astype(x.dtype),
        name="result",
    )


def _window(kernel: Separable, x: Any, weight: Any, i: Any, c: Any) -> Any:
    """The depthwise sum at the output pixel `i`, written out: a thread has it in a register when it stores it."""
    (kh, kw), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    top, _, left, _ = kernel.window.padding
    oh, ow = kernel.output_size
    n, h, w = i // (oh * ow), i // ow % oh * sh - top, i % ow * sw - left
    terms = [
        pixel_or_zero(x, n, h + ky * dh, w + kx * dw, c).astype("float32")
        * weight[ky, kx, c].astype("float32")
        for ky in range(kh)
        for kx in range(kw)
    ]
    return sum(terms[1:], terms[0])


def schedule(sch: Schedule, kernel: Separable) -> None:
    """Blocks, threads and shared memory for the function that `compute` gave."""
    schedule_tile_product(sch, kernel.tile, lanes_of(kernel.channels), lanes_of(kernel.outputs))
    if kernel.channels <= kernel.tile.chunk:
        # A thread's results are of the same channels: it reads their weights once. TVM refuses it where it loads ahead.
        *_, turn, _, _ = sch.get_loops(sch.get_sblock("left"))
        sch.unroll(turn)
