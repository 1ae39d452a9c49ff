"""Depthwise convolution: each channel with its own window; a tile of output pixels by channels stays in registers.

The weights lie as [kh, kw, C]. A parallel task takes a block of rows of some channels. The kernels differ in how they
read the image, and in the tile:

padded: the task copies its rows with their border into cache; one row of pixels is in registers. No tests inside.
direct: reads the image itself, with a test at the border; one row of pixels. Most pixels for each weight.
rows:   reads the image itself; two rows of pixels, so that an input row is read once for both. Fewest reads.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.conv2d import Window, Windowed, vectorize_channels
from lwc.targets.kernels.epilogue import Epilogue, at
from lwc.targets.kernels.gemm import unroll_tile
from lwc.targets.kernels.padding import padded_input
from lwc.targets.kernels.tiling import RegisterTile, balanced_split, largest_divisor, round_up
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te

KERNELS = ("padded", "direct", "rows")
# Windows up to this size are unrolled.
UNROLLED = 25


@dataclass(frozen=True)
class Depthwise(Windowed):
    """y[n, h, w, c] = epilogue(sum over the window of x w[c] + bias[c], residual), NHWC in and out."""

    batch: int
    channels: int
    input_size: tuple[int, int]
    window: Window
    tile: RegisterTile  # rows are neighbouring output columns of the image
    tile_rows: int  # output rows of the image in registers
    channel_block: int  # channels in one parallel task
    row_block: int  # output rows in one parallel task
    copies: bool  # whether a task copies its input with the border
    epilogue: Epilogue

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.batch * math.prod(self.output_size) * self.channels * math.prod(self.window.kernel)


def plan(
    shape: tuple[int, ...], window: Window, epilogue: Epilogue, target: Target, kernel: str = "auto"
) -> Depthwise:
    """One of `KERNELS` for x of `shape` (N, H, W, C), tiled for `target`; `auto` is the first."""
    kernel = KERNELS[0] if kernel == "auto" else kernel
    if kernel not in KERNELS:
        raise ValueError(f"no depthwise kernel has the name {kernel!r}")
    batch, height, width, channels = shape
    oh, ow = window.output_size(height, width)
    tile_rows, tile = register_tile(channels, ow, target, kernel)
    channel_block = tile.columns * largest_divisor(channels // tile.columns, 64 // tile.columns)
    row_bytes = 4 * channel_block * (width + 2 * tile.rows) * window.stride[0]
    fit = max(1, target.l2_bytes // 4 // row_bytes)
    blocks = batch * (channels // channel_block)
    row_tiles = -(-oh // tile_rows)
    row_block = tile_rows * balanced_split(row_tiles, blocks, max(1, fit // tile_rows), target.cores)
    copies = kernel == "padded"
    return Depthwise(
        batch, channels, (height, width), window, tile, tile_rows, channel_block, row_block, copies, epilogue
    )


def register_tile(channels: int, columns: int, target: Target, kernel: str) -> tuple[int, RegisterTile]:
    """Output rows in registers, and output columns by channels, for an image `columns` wide."""
    lanes = math.gcd(channels, target.float_lanes)
    # Multiply-adds of NEON read no memory: the weights of one vector find registers, of two they do not.
    narrow = kernel == "direct" or (kernel == "padded" and target.multiplies_by_element)
    vectors = 1 if narrow else largest_divisor(channels // lanes, 2)
    rows = 2 if kernel == "rows" else 1
    # Few enough accumulators that inputs and weights find registers too.
    most = max(1, min(columns, target.vector_registers // 4 // vectors // rows))
    pixels = min(range(max(1, 3 * most // 4), most + 1), key=lambda p: (round_up(columns, p), -p))
    return rows, RegisterTile(pixels, lanes * vectors, lanes)


def pack(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (C, 1, kh, kw) in the kernel's order [kh, kw, C]."""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))


def compute(kernel: Depthwise, x: Any, weight: Any, bias: Any, residual: Any = None) -> Any:
    """The tensor expression; x (N, H, W, C), weight packed, bias (C), residual like y."""
    (kh, kw), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    oh, ow = kernel.output_size
    # Whole tiles only: what lies beyond the last output row or column is computed and not stored.
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
    block, row_tile, row = sch.split(h, [None, kernel.row_block // kernel.tile_rows, kernel.tile_rows])
    column_tile, column = sch.split(w, [None, tile.rows])
    channel_task, panel, channel = sch.split(c, [None, kernel.channel_block // tile.columns, tile.columns])
    sch.reorder(n, block, channel_task, row_tile, panel, column_tile, ky, kx, row, column, channel)
    task = sch.fuse(n, block, channel_task)
    sch.parallel(task)
    if kernel.copies:
        sch.compute_at(padded, task)
        vectorize_channels(sch, padded, kernel.channel_block, tile.lanes)
    else:
        sch.compute_inline(padded)
    sch.reverse_compute_at(result, column_tile, preserve_unit_loops=True)
    for loops in (sch.get_loops(result), [row, column, channel]):
        sch.unroll(loops[-3])
        unroll_tile(sch, loops, tile.lanes)
    sch.decompose_reduction(product, ky)
    if kernel.window.kernel[0] * kernel.window.kernel[1] <= UNROLLED:
        sch.unroll(ky)
        sch.unroll(kx)
