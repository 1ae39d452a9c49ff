"""Depthwise convolution on 8-bit integers: the bytes of up to four rows above each other make a word.

A word of a column serves every window that the column lies in, so that neighbouring results share it: for a 3x3
window of stride 1, three loads and two shifts for three dot products. The weights lie as words [kh/4, kw, C, 4]. The
rows with their border, which holds the zero point of x, are copied into cache by each parallel task.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.conv2d import Window, Windowed, vectorize_channels
from lwc.targets.kernels.depthwise import UNROLLED
from lwc.targets.kernels.dot_product import dot, word
from lwc.targets.kernels.epilogue import at
from lwc.targets.kernels.gemm import unroll_tile
from lwc.targets.kernels.quantized_gemm import WORD
from lwc.targets.kernels.requantize import Requantize
from lwc.targets.kernels.tiling import RegisterTile, balanced_split, largest_divisor, round_up
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx


@dataclass(frozen=True)
class QuantizedDepthwise(Windowed):
    """y = requantize(sum over the window of x w[c] + bias[c], multiplier[c], residual), NHWC in and out."""

    batch: int
    channels: int
    input_size: tuple[int, int]
    window: Window
    tile: RegisterTile  # rows are neighbouring output columns of the image
    channel_block: int  # channels in one parallel task
    row_block: int  # output rows in one parallel task
    dot_product: str
    input_dtype: str
    input_zero_point: int
    requantize: Requantize

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.batch * math.prod(self.output_size) * self.channels * math.prod(self.window.kernel)


def plan(
    shape: tuple[int, ...],
    window: Window,
    input_dtype: str,
    input_zero_point: int,
    requantize: Requantize,
    target: Target,
) -> QuantizedDepthwise:
    """The kernel for x of `shape` (N, H, W, C), tiled for `target`."""
    batch, height, width, channels = shape
    oh, ow = window.output_size(height, width)
    lanes = math.gcd(channels, target.float_lanes)
    most = max(1, min(ow, target.vector_registers // 4))
    pixels = min(range(max(1, 3 * most // 4), most + 1), key=lambda p: (round_up(ow, p), -p))
    channel_block = lanes * largest_divisor(channels // lanes, max(1, 128 // lanes))
    row_bytes = channel_block * (width + 2 * pixels) * window.stride[0]
    fit = max(1, target.l1_bytes // 2 // row_bytes)
    row_block = balanced_split(oh, batch * (channels // channel_block), fit, target.cores)
    return QuantizedDepthwise(
        batch,
        channels,
        (height, width),
        window,
        RegisterTile(pixels, lanes, lanes),
        channel_block,
        row_block,
        target.dot_product,
        input_dtype,
        input_zero_point,
        requantize,
    )


def pack(weight: NDArray[np.int8]) -> NDArray[np.int32]:
    """Weights (C, 1, kh, kw) as words [kh/4, kw, C] of four rows each."""
    channels, _, height, width = weight.shape
    padded = np.zeros((round_up(height, WORD), width, channels), np.int8)
    padded[:height] = weight[:, 0].transpose(1, 2, 0)
    fours = padded.reshape(-1, WORD, width, channels).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(fours).view(np.int32)[..., 0]


def compute(
    kernel: QuantizedDepthwise, x: Any, weight: Any, bias: Any, multiplier: Any, residual: Any = None
) -> Any:
    """The tensor expression; x (N, H, W, C) of bytes, weight packed, the others like y."""
    (kh, kw), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    oh, ow = kernel.output_size
    # Whole tiles only: what lies beyond the last output row or column is computed and not stored.
    rows, columns = round_up(oh, kernel.row_block), round_up(ow, kernel.tile.rows)
    height, width = (rows - 1) * sh + dh * (kh - 1) + 1, (columns - 1) * sw + dw * (kw - 1) + 1
    source = _padded_pixels(kernel, x, height, width)
    four, kx = te.reduce_axis((0, -(-kh // WORD)), name="four"), te.reduce_axis((0, kw), name="kx")

    def term(n: Any, h: Any, w: Any, c: Any) -> Any:
        def byte(i: int) -> Any:
            if kh <= WORD and i >= kh:
                return tirx.const(0, kernel.input_dtype)
            # A row beyond the window repeats its last: the weight is zero there.
            ky = i if kh <= WORD else tirx.min(WORD * four + i, kh - 1)
            return source[n, h * sh + ky * dh, w * sw + kx * dw, c]

        products = dot(kernel.dot_product, word(byte), weight[four, kx, c], tirx.const(0, "int32"))
        return te.sum(products, axis=[four, kx])

    product = te.compute((kernel.batch, rows, columns, kernel.channels), term, name="product")
    return te.compute(
        (kernel.batch, oh, ow, kernel.channels),
        lambda n, h, w, c: kernel.requantize(
            product[n, h, w, c] + bias[c], multiplier[c], at(residual, n, h, w, c)
        ),
        name="result",
    )


def _padded_pixels(kernel: QuantizedDepthwise, x: Any, height: int, width: int) -> Any:
    top, _, left, _ = kernel.window.padding
    rows, columns = kernel.input_size

    def pixel(n: Any, h: Any, w: Any, c: Any) -> Any:
        y, z = h - top, w - left
        inside = tirx.all(y >= 0, y < rows, z >= 0, z < columns)
        border = tirx.const(kernel.input_zero_point, kernel.input_dtype)
        return tirx.if_then_else(inside, x[n, y, z, c], border)

    return te.compute((kernel.batch, height, width, kernel.channels), pixel, name="padded")


def schedule(sch: Schedule, kernel: QuantizedDepthwise) -> None:
    """Register tiles, blocks of rows and channels, and parallel tasks for the function that `compute` gave."""
    tile = kernel.tile
    padded, product, result = (sch.get_sblock(name) for name in ("padded", "product", "result"))
    n, h, w, c, four, kx = sch.get_loops(product)
    block, row = sch.split(h, [None, kernel.row_block])
    column_tile, column = sch.split(w, [None, tile.rows])
    channel_task, panel, channel = sch.split(c, [None, kernel.channel_block // tile.columns, tile.columns])
    sch.reorder(n, block, channel_task, row, panel, column_tile, four, kx, column, channel)
    task = sch.fuse(n, block, channel_task)
    sch.parallel(task)
    sch.compute_at(padded, task)
    vectorize_channels(sch, padded, kernel.channel_block, math.gcd(kernel.channel_block, 64))
    sch.reverse_compute_at(result, column_tile, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(result), tile.lanes)
    unroll_tile(sch, [column, channel], tile.lanes)
    sch.decompose_reduction(product, four)
    if math.prod(kernel.window.kernel) <= UNROLLED:
        sch.unroll(four)
        sch.unroll(kx)
