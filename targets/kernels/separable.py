"""Depthwise convolution and the pointwise one that reads it, in one kernel: what is between them stays in cache.

A parallel task computes a block of depthwise rows, all channels of them, into memory of its own, and multiplies it
at once with the packed pointwise weights. The tiles are those of depthwise.py and gemm.py.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels import depthwise, gemm
from lwc.targets.kernels.conv2d import Window, Windowed
from lwc.targets.kernels.epilogue import Epilogue, at
from lwc.targets.kernels.padding import pixel_or_zero
from lwc.targets.kernels.tiling import (
    OutputChannels,
    RegisterTile,
    imbalance,
    largest_divisor,
    register_tile,
    round_up,
    store_lanes,
)
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx

NAME = "separable"


@dataclass(frozen=True)
class Separable(Windowed, OutputChannels):
    """y[n, h, w, o] = epilogue(sum over c of z[n, h, w, c] w[c, o] + bias[o]), z the depthwise result, NHWC."""

    batch: int
    channels: int
    outputs: int
    input_size: tuple[int, int]
    window: Window
    window_tile: RegisterTile  # rows are neighbouring output columns of the image
    window_rows: int  # output rows of the image in registers
    tile: RegisterTile  # of the product: pixels by output channels
    row_block: int  # output rows in one parallel task
    window_epilogue: Epilogue
    epilogue: Epilogue

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, of both convolutions."""
        each = self.channels * (math.prod(self.window.kernel) + self.outputs)
        return self.batch * math.prod(self.output_size) * each

    @property
    def extents(self) -> tuple[int, int, int]:
        """The shape of the result, without columns that pad, and of what is added to it: by tasks."""
        tasks = self.batch * self.output_size[0] // self.row_block
        return tasks, self.row_block * self.output_size[1], self.outputs


def plan(
    shape: tuple[int, ...],
    outputs: int,
    window: Window,
    epilogues: tuple[Epilogue, Epilogue],
    target: Target,
) -> Separable:
    """The kernel for x of `shape` (N, H, W, C) and `outputs` channels, tiled for `target`; epilogues in order."""
    batch, height, width, channels = shape
    oh, ow = window.output_size(height, width)
    # A quarter of the second-level cache holds the block beside weights and image, and each core has several tasks.
    fit = target.l2_bytes // 4 // (4 * channels * ow)
    row_block = _row_block(batch * oh, max(1, min(fit, batch * oh // (4 * target.cores))), target)
    window_rows, window_tile = _window_tile(channels, ow, row_block, target)
    tile = register_tile(row_block * ow, outputs, target)
    return Separable(
        batch,
        channels,
        outputs,
        (height, width),
        window,
        window_tile,
        window_rows,
        tile,
        row_block,
        *epilogues,
    )


def _row_block(rows: int, most: int, target: Target) -> int:
    """The rows of a task, a divisor of `rows`: cores finish together, and tiles of several rows fit."""

    def cost(block: int) -> float:
        fitting = {0: 1.0, 2: 1.03}.get(block % 4, 1.08)
        return imbalance(rows // block, target.cores) * fitting

    return min((block for block in range(most, 0, -1) if rows % block == 0), key=cost)


def _window_tile(channels: int, columns: int, row_block: int, target: Target) -> tuple[int, RegisterTile]:
    """Output rows in registers, and output columns by channels: as few distinct input pixels as the block allows."""
    lanes = math.gcd(channels, target.float_lanes)
    accumulators = target.vector_registers // 4
    tiles = [
        (rows, pixels, vectors)
        for vectors in (1, 2)
        for rows in (1, 2, 4)
        if (channels // lanes) % vectors == 0 and row_block % rows == 0 and rows * vectors <= accumulators
        for pixels in (largest_divisor(columns, accumulators // (rows * vectors)),)
    ]
    # Most results first; then at least two neighbours in a row, whole cache lines, and several rows.
    rows, pixels, vectors = max(tiles, key=lambda t: (t[0] * t[1] * t[2], t[1] > 1, t[2], t[0]))
    return rows, RegisterTile(pixels, lanes * vectors, lanes)


def pack(
    kernel: Separable, window_weight: NDArray[np.float32], weight: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (C, 1, kh, kw) and (O, C) in the kernel's order: [kh, kw, C] and [O/nr, C, nr]."""
    return depthwise.pack(window_weight), gemm.pack_panels(weight, kernel.tile)


def compute(
    kernel: Separable,
    x: Any,
    window_weight: Any,
    window_bias: Any,
    weight: Any,
    bias: Any,
    residual: Any = None,
) -> Any:
    """The tensor expression, (tasks, pixels of a task, stored columns); x (N, H, W, C), weights packed, biases (C) and
    (stored columns), residual like y.

    Rows of all images are counted together, so that a block of them is one range.
    """
    (kh, kw), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    oh, ow = kernel.output_size
    top, _, left, _ = kernel.window.padding
    rows, channels = kernel.batch * oh, kernel.channels
    ky, kx = te.reduce_axis((0, kh), name="ky"), te.reduce_axis((0, kw), name="kx")
    window = te.compute(
        (rows, ow, channels),
        lambda r, w, c: te.sum(
            pixel_or_zero(x, r // oh, r % oh * sh + ky * dh - top, w * sw + kx * dw - left, c)
            * window_weight[ky, kx, c],
            axis=[ky, kx],
        ),
        name="window",
    )
    between = te.compute(
        (rows, ow, channels),
        lambda r, w, c: kernel.window_epilogue(window[r, w, c] + window_bias[c]),
        name="between",
    )
    k, nr = te.reduce_axis((0, channels), name="k"), kernel.tile.columns
    pixels = kernel.row_block * ow

    def term(b: Any, i: Any, j: Any) -> Any:
        # Pixels beyond the last of a task repeat it: their results are never stored.
        pixel = tirx.min(i, pixels - 1)
        value = between[b * kernel.row_block + pixel // ow, pixel % ow, k]
        return te.sum(value * weight[j // nr, k, j % nr], axis=k)

    tasks = rows // kernel.row_block
    product = te.compute(
        (tasks, round_up(pixels, kernel.tile.rows), kernel.padded_columns), term, name="product"
    )
    return te.compute(
        (tasks, pixels, kernel.stored_columns),
        lambda b, i, j: kernel.epilogue(product[b, i, j] + bias[j], at(residual, b, i, j)),
        name="result",
    )


def schedule(sch: Schedule, kernel: Separable) -> None:
    """Register tiles of both parts, blocks of rows, and parallel tasks for the function that `compute` gave."""
    task = _schedule_product(sch, kernel)
    _schedule_window(sch, kernel, task)


def _schedule_product(sch: Schedule, kernel: Separable) -> Any:
    tile = kernel.tile
    product, result = sch.get_sblock("product"), sch.get_sblock("result")
    task, i, j, k = sch.get_loops(product)
    row_tile, row = sch.split(i, [None, tile.rows])
    panel, column = sch.split(j, [None, tile.columns])
    sch.reorder(task, panel, row_tile, k, row, column)
    sch.parallel(task)
    sch.reverse_compute_at(result, row_tile, preserve_unit_loops=True)
    gemm.unroll_tile(sch, sch.get_loops(result), store_lanes(kernel.outputs, tile.lanes))
    gemm.unroll_tile(sch, [row, column], tile.lanes)
    sch.decompose_reduction(product, k)
    return task


def _schedule_window(sch: Schedule, kernel: Separable, task: Any) -> None:
    tile, kernel_size = kernel.window_tile, kernel.window.kernel
    window, between = sch.get_sblock("window"), sch.get_sblock("between")
    sch.compute_at(between, task, preserve_unit_loops=True)
    row, column, channel = sch.get_loops(between)[-3:]
    row_tile, row = sch.split(row, [None, kernel.window_rows])
    column_tile, column = sch.split(column, [None, tile.rows])
    panel, channel = sch.split(channel, [None, tile.columns])
    sch.reorder(row_tile, panel, column_tile, row, column, channel)
    sch.compute_at(window, column_tile, preserve_unit_loops=True)
    *_, tile_row, tile_column, tile_channel, ky, kx = sch.get_loops(window)
    sch.reorder(ky, kx, tile_row, tile_column, tile_channel)
    for loops in ([row, column, channel], [tile_row, tile_column, tile_channel]):
        sch.unroll(loops[0])
        gemm.unroll_tile(sch, loops, tile.lanes)
    sch.decompose_reduction(window, ky)
    if kernel_size[0] * kernel_size[1] <= depthwise.UNROLLED:
        sch.unroll(ky)
        sch.unroll(kx)
