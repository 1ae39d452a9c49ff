"""Depthwise convolution: each channel with its own window; a row of output pixels by channels stays in registers.

The weights lie as [kh, kw, C]. A parallel task takes a block of rows of some channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.conv2d import Window, vectorize_channels
from lwc.targets.kernels.epilogue import Epilogue, at
from lwc.targets.kernels.gemm import unroll_tile
from lwc.targets.kernels.padding import padded_input
from lwc.targets.kernels.tiling import RegisterTile, largest_divisor, round_up
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te


@dataclass(frozen=True)
class Depthwise:
    """y[n, h, w, c] = epilogue(sum over the window of x w[c] + bias[c], residual), NHWC in and out."""

    batch: int
    channels: int
    input_size: tuple[int, int]
    window: Window
    tile: RegisterTile  # rows are neighbouring output columns of the image
    channel_block: int  # channels in one parallel task
    row_block: int  # output rows in one parallel task
    epilogue: Epilogue


def plan(shape: tuple[int, ...], window: Window, epilogue: Epilogue, target: Target) -> Depthwise:
    """The kernel for x of `shape` (N, H, W, C), tiled for `target`."""
    batch, height, width, channels = shape
    oh, ow = window.output_size(height, width)
    lanes = largest_divisor(channels, target.float_lanes)
    vectors = largest_divisor(channels // lanes, 2)
    # Few enough accumulators that inputs and weights find registers too.
    pixels = max(1, min(ow, target.vector_registers // 4 // vectors))
    tile = RegisterTile(pixels, lanes * vectors, lanes)
    channel_block = tile.columns * largest_divisor(channels // tile.columns, 64 // tile.columns)
    row_bytes = 4 * channel_block * (width + 2 * pixels) * window.stride[0]
    fit = max(1, target.l2_bytes // 4 // row_bytes)
    blocks = batch * (channels // channel_block)
    row_block = max(1, min(fit, oh, oh * blocks // (4 * target.cores)))
    return Depthwise(batch, channels, (height, width), window, tile, channel_block, row_block, epilogue)


def pack(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (C, 1, kh, kw) in the kernel's order [kh, kw, C]."""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))


def compute(kernel: Depthwise, x: Any, weight: Any, bias: Any, residual: Any = None) -> Any:
    """The tensor expression; x (N, H, W, C), weight packed, bias (C), residual like y."""
    (kh, kw), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    oh, ow = kernel.window.output_size(*kernel.input_size)
    rows, columns = round_up(oh, kernel.row_block), round_up(ow, kernel.tile.rows)
    height, width = (rows - 1) * sh + dh * (kh - 1) + 1, (columns - 1) * sw + dw * (kw - 1) + 1
    top, _, left, _ = kernel.window.padding
    source = padded_input(x, top, left, height, width, "NHWC")
    ky, kx = te.reduce_axis((0, kh), name="ky"), te.reduce_axis((0, kw), name="kx")
    product = te.compute(
        (kernel.batch, rows, columns, kernel.channels),
        lambda n, h, w, c: te.sum(
            source[n, h * sh + ky * dh, w * sw + kx * dw, c] * weight[ky, kx, c], axis=[ky, kx]
        ),
        name="product",
    )
    return te.compute(
        (kernel.batch, oh, ow, kernel.channels),
        lambda n, h, w, c: kernel.epilogue(product[n, h, w, c] + bias[c], at(residual, n, h, w, c)),
        name="result",
    )


def schedule(sch: Schedule, kernel: Depthwise) -> None:
    """Register tiles, blocks of rows and channels, and parallel tasks for the function that `compute` gave."""
    tile = kernel.tile
    padded, product, result = (sch.get_sblock(name) for name in ("padded", "product", "result"))
    n, h, w, c, ky, kx = sch.get_loops(product)
    block, row = sch.split(h, [None, kernel.row_block])
    column_tile, column = sch.split(w, [None, tile.rows])
    channel_task, panel, channel = sch.split(c, [None, kernel.channel_block // tile.columns, tile.columns])
    sch.reorder(n, block, channel_task, row, panel, column_tile, ky, kx, column, channel)
    task = sch.fuse(n, block, channel_task)
    sch.parallel(task)
    sch.compute_at(padded, task)
    sch.reverse_compute_at(result, column_tile, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(result), tile.lanes)
    unroll_tile(sch, [column, channel], tile.lanes)
    vectorize_channels(sch, padded, kernel.channel_block, tile.lanes)
    start = sch.decompose_reduction(product, ky)
    if kernel.window.kernel[0] * kernel.window.kernel[1] <= 9:
        sch.unroll(ky)
        sch.unroll(kx)
    sch.set_scope(start, 0, "local")
