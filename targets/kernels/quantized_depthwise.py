"""Depthwise convolution on 8-bit integers: the bytes of up to four rows above each other make a word.

A word of a column serves every window that the column lies in, so that neighbouring results share it. Where whole
vectors of bytes divide the channels, four vectors of words are interleaved at once, by eight instructions
(`interleave.py`, whose order of channels the operands then have); else each vector is put together by shifts. The
weights lie as words [kh/4, kw, C, 4]. The rows with their border, which holds the zero point of x, are copied into
cache by each parallel task.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.conv2d import Window, Windowed, vectorize_channels
from lwc.targets.kernels.depthwise import UNROLLED
from lwc.targets.kernels.dot_product import dot, is_signed, whole_vectors, word
from lwc.targets.kernels.epilogue import at
from lwc.targets.kernels.gemm import unroll_tile
from lwc.targets.kernels.interleave import interleave, narrow, order
from lwc.targets.kernels.quantized_gemm import WORD
from lwc.targets.kernels.requantize import Requantize
from lwc.targets.kernels.tiling import (
    RegisterTile,
    balanced_split,
    largest_divisor,
    round_up,
    stays_on_stack,
)
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
    interleaved: bool  # the tile's columns are whole vectors of bytes
    saturating: bool  # the bounds of the result are those of its type, and narrowing words saturates

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
    residual: bool = False,
    largest: float = math.inf,
) -> QuantizedDepthwise:
    """The kernel for x of `shape` (N, H, W, C), tiled for `target`; sums times multipliers are `largest` at most."""
    batch, height, width, channels = shape
    oh, ow = window.output_size(height, width)
    # A quarter of the widest vector would cost more than the shifts.
    vectors = [lanes for lanes in whole_vectors(target.dot_product) if 2 <= lanes // target.float_lanes <= 4]
    interleaved = [lanes for lanes in vectors if channels % lanes == 0]
    if residual or requantize.zero_point is None:
        interleaved = []
    lanes = max(interleaved, default=math.gcd(channels, target.float_lanes))
    pixels = _pixels(ow, lanes, bool(interleaved), target)
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
        bool(interleaved),
        bool(interleaved) and not is_signed(target.dot_product) and requantize.saturates(largest),
    )


def _pixels(columns: int, lanes: int, interleaved: bool, target: Target) -> int:
    """Neighbouring output columns in registers: nearly as many as fit, with few beyond the last column."""
    # Interleaved words of a column take four registers, and so do its sums.
    most = target.vector_registers // (8 if interleaved else 4)
    fit = [count for count in range(1, min(columns, most) + 1) if count == 1 or stays_on_stack(count * lanes)]
    return min(
        range(max(1, 3 * fit[-1] // 4), fit[-1] + 1), key=lambda count: (round_up(columns, count), -count)
    )


def pack(kernel: QuantizedDepthwise, weight: NDArray[np.int8]) -> NDArray[np.int32]:
    """Weights (C, 1, kh, kw) as words [kh/4, kw, C] of four rows each."""
    channels, _, height, width = weight.shape
    padded = np.zeros((round_up(height, WORD), width, channels), np.int8)
    padded[:height] = weight[:, 0].transpose(1, 2, 0)
    fours = padded.reshape(-1, WORD, width, channels).transpose(0, 2, 3, 1)
    return in_order(kernel, np.ascontiguousarray(fours).view(np.int32)[..., 0])


def in_order(kernel: QuantizedDepthwise, array: NDArray[Any]) -> NDArray[Any]:
    """What is stored by channel (..., C) in the order in which the kernel has the channels."""
    if not kernel.interleaved:
        return array
    lanes = kernel.tile.lanes
    return np.ascontiguousarray(
        array.reshape(*array.shape[:-1], -1, lanes)[..., order(lanes)].reshape(array.shape)
    )


def compute(
    kernel: QuantizedDepthwise, x: Any, weight: Any, bias: Any, multiplier: Any, residual: Any = None
) -> Any:
    """The tensor expression; x (N, H, W, C) of bytes, weight packed, bias and multiplier (C,) `in_order`."""
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

        rows = interleave([byte(i) for i in range(WORD)]) if kernel.interleaved else word(byte)
        products = dot(kernel.dot_product, rows, weight[four, kx, c], tirx.const(0, "int32"))
        return te.sum(products, axis=[four, kx])

    def end(n: Any, h: Any, w: Any, c: Any) -> Any:
        how, total = kernel.requantize, product[n, h, w, c] + bias[c]
        # Where vectors have 128 bits, interleaved words are in the channels' own order.
        if not kernel.interleaved or is_signed(kernel.dot_product):
            return how(total, multiplier[c], at(residual, n, h, w, c))
        value = how.real(total, multiplier[c])
        return narrow(how.integer(value if kernel.saturating else how.bounded(value)), how.dtype)

    product = te.compute((kernel.batch, rows, columns, kernel.channels), term, name="product")
    return te.compute((kernel.batch, oh, ow, kernel.channels), end, name="result")


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
