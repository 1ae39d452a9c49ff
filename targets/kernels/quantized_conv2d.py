"""Dense convolution on 8-bit integers, direct: `conv2d`, with four neighbouring inputs of a window's row in a word.

A row of the window is read as one run of kw I bytes where it is contiguous (dilation 1), else pixel by pixel. The
border holds the zero point of x. Each parallel task copies its rows with their border into cache; channels that fill no
vector, such as an image's three, are too slow to copy so, and come padded to words and with their border (`bordered`):
whatever makes x writes them where they have to lie.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.conv2d import Window, Windowed, vectorize_channels
from lwc.targets.kernels.dot_product import dot, word
from lwc.targets.kernels.epilogue import at
from lwc.targets.kernels.gemm import unroll_tile
from lwc.targets.kernels.prefetch import prefetch_rows
from lwc.targets.kernels.quantized_gemm import WORD, panels
from lwc.targets.kernels.requantize import Requantize
from lwc.targets.kernels.tiling import (
    OutputChannels,
    RegisterTile,
    largest_divisor,
    register_tile,
    round_up,
    store_lanes,
)
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx

# Bytes of a vector of every target.
_COPY_LANES = 16


@dataclass(frozen=True)
class QuantizedConv2d(Windowed, OutputChannels):
    """y = requantize(conv(x, w) + bias, multiplier, residual), x (N, H, W, C) and y (N, OH, OW, stored columns)."""

    batch: int
    channels: int
    outputs: int
    input_size: tuple[int, int]
    window: Window
    tile: RegisterTile  # rows are neighbouring output columns of the image
    row_block: int  # output rows in one parallel task
    share_rows: bool  # a task takes all channels of its rows, not one panel
    bordered: bool  # x is what `with_border` gives
    border_lanes: int  # pixels in a vector of such an x
    dot_product: str
    input_dtype: str
    input_zero_point: int
    requantize: Requantize

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        each = math.prod(self.window.kernel) * self.channels
        return self.batch * math.prod(self.output_size) * self.outputs * each

    @property
    def source_size(self) -> tuple[int, int]:
        """Rows and columns that whole tiles read: those beyond the last output are computed and not stored."""
        (kh, kw), (sh, sw), (dh, dw) = self.window.kernel, self.window.stride, self.window.dilation
        oh, ow = self.output_size
        rows, columns = round_up(oh, self.row_block), round_up(ow, self.tile.rows)
        return (rows - 1) * sh + dh * (kh - 1) + 1, (columns - 1) * sw + dw * (kw - 1) + 1

    @property
    def border(self) -> tuple[int, int, int, int]:
        """Pixels above, below, left and right of a bordered x; its rows are whole vectors, all border or none."""
        top, _, left, _ = self.window.padding
        height, width = self.source_size
        rows, columns = self.input_size
        before = round_up(left, self.border_lanes)
        after = round_up(max(0, width - left - columns), self.border_lanes)
        return top, max(0, height - top - rows), before, after

    @property
    def runs(self) -> tuple[int, int]:
        """The runs of contiguous bytes in a row of the window, and the bytes of each, unpadded."""
        columns = self.window.kernel[1]
        contiguous = self.window.dilation[1] == 1 and not self.bordered
        return (1, columns * self.channels) if contiguous else (columns, self.channels)


def plan(
    shape: tuple[int, ...],
    outputs: int,
    window: Window,
    input_dtype: str,
    input_zero_point: int,
    requantize: Requantize,
    target: Target,
) -> QuantizedConv2d:
    """The kernel for x of `shape` (N, H, W, C), tiled for `target`."""
    batch, height, width, channels = shape
    oh, ow = window.output_size(height, width)
    tile = register_tile(ow, outputs, target)
    columns = round_up(outputs, tile.lanes) // tile.columns
    row_bytes = channels * (width + 2 * tile.rows)
    fit = max(1, target.l2_bytes // 2 // (row_bytes * window.stride[0]))
    block = max(1, min(fit, batch * oh // (4 * target.cores), 8))
    share = batch * -(-oh // block) >= 4 * target.cores
    if not share:
        block = max(1, min(fit, batch * oh * columns // (4 * target.cores), oh))
    return QuantizedConv2d(
        batch,
        channels,
        outputs,
        (height, width),
        window,
        tile,
        block,
        share,
        channels % _COPY_LANES != 0,
        largest_divisor(width, target.float_lanes),
        target.dot_product,
        input_dtype,
        input_zero_point,
        requantize,
    )


def pack(kernel: QuantizedConv2d, weight: NDArray[np.int8]) -> NDArray[np.int32]:
    """Weights (O, I, kh, kw) as words [O/nr, kh, runs, words of a run, nr]."""
    count, size = kernel.runs
    rows = weight.transpose(0, 2, 3, 1).reshape(kernel.outputs, kernel.window.kernel[0], count, size)
    padded = np.zeros((kernel.padded_columns, *rows.shape[1:3], round_up(size, WORD)), np.int8)
    padded[: kernel.outputs, ..., :size] = rows
    return panels(padded.view(np.int32), kernel.tile)


def with_border(kernel: QuantizedConv2d, x: Any) -> Any:
    """x (N, H, W, C) of bytes with its border, as words (N, H', W' / lanes, lanes x words of a pixel)."""
    batch, height, width, channels = (int(extent) for extent in x.shape)
    top, bottom, before, after = kernel.border
    lanes, words = kernel.border_lanes, -(-channels // WORD)
    filled = int(np.full(WORD, kernel.input_zero_point, kernel.input_dtype).view(np.int32)[0])

    def byte(n: Any, h: Any, w: Any, c: Any) -> Any:
        return tirx.if_then_else(c < channels, x[n, h, w, c], tirx.const(0, x.dtype))

    def pixel(n: Any, h: Any, v: Any, i: Any) -> Any:
        # Of whole vectors: a condition on single pixels would not be vectorised.
        inside = tirx.all(h >= top, h < top + height, v >= before // lanes, v < (before + width) // lanes)
        w, k = v * lanes + i // words - before, i % words
        made = word(lambda b: byte(n, h - top, w, WORD * k + b))
        return tirx.if_then_else(inside, made, tirx.const(filled, "int32"))

    extents = (batch, top + height + bottom, (before + width + after) // lanes, lanes * words)
    return te.compute(extents, pixel, name="bordered")


def compute(
    kernel: QuantizedConv2d, x: Any, weight: Any, bias: Any, multiplier: Any, residual: Any = None
) -> Any:
    """The tensor expression; x (N, H, W, C) of bytes or bordered, weight packed, the others like y."""
    (kh, _), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    oh, ow = kernel.output_size
    rows, columns = round_up(oh, kernel.row_block), round_up(ow, kernel.tile.rows)
    count, size = kernel.runs
    nr = kernel.tile.columns
    ky, run = te.reduce_axis((0, kh), name="ky"), te.reduce_axis((0, count), name="run")
    k = te.reduce_axis((0, -(-size // WORD)), name="k")
    four = _bordered_words(kernel, x) if kernel.bordered else _words(kernel, x)

    def term(n: Any, h: Any, w: Any, o: Any) -> Any:
        x = four(n, h * sh + ky * dh, w * sw + run * dw, k)
        products = dot(kernel.dot_product, x, weight[o // nr, ky, run, k, o % nr], tirx.const(0, "int32"))
        return te.sum(products, axis=[ky, run, k])

    product = te.compute((kernel.batch, rows, columns, kernel.padded_columns), term, name="product")
    return te.compute(
        (kernel.batch, oh, ow, kernel.stored_columns),
        lambda n, h, w, o: kernel.requantize(
            product[n, h, w, o] + bias[o], multiplier[o], at(residual, n, h, w, o)
        ),
        name="result",
    )


def _bordered_words(kernel: QuantizedConv2d, x: Any) -> Callable[..., Any]:
    """Word k of the pixel (n, h, w), counted from the first that the window reads, of a bordered x."""
    lanes, words = kernel.border_lanes, -(-kernel.channels // WORD)
    lead = kernel.border[2] - kernel.window.padding[2]

    def four(n: Any, h: Any, w: Any, k: Any) -> Any:
        return x[n, h, (w + lead) // lanes, (w + lead) % lanes * words + k]

    return four


def _words(kernel: QuantizedConv2d, x: Any) -> Callable[..., Any]:
    """The same of rows that a task copies with their border, each one run of bytes."""
    height, width = kernel.source_size
    top, _, left, _ = kernel.window.padding
    rows, columns = kernel.input_size
    channels = kernel.channels

    def byte(n: Any, h: Any, b: Any) -> Any:
        y, z, c = h - top, b // channels - left, b % channels
        inside = tirx.all(y >= 0, y < rows, z >= 0, z < columns)
        border = tirx.const(kernel.input_zero_point, kernel.input_dtype)
        return tirx.if_then_else(inside, x[n, y, z, c], border)

    padded = te.compute((kernel.batch, height, width * channels), byte, name="padded")
    return lambda n, h, w, k: word(lambda b: padded[n, h, w * channels + WORD * k + b])


def schedule(sch: Schedule, kernel: QuantizedConv2d) -> None:
    """Register tiles, blocks of rows and parallel tasks for the function that `compute` gave."""
    tile = kernel.tile
    product, result = (sch.get_sblock(name) for name in ("product", "result"))
    n, h, w, o, ky, run, k = sch.get_loops(product)
    block, row = sch.split(h, [None, kernel.row_block])
    column_tile, column = sch.split(w, [None, tile.rows])
    panel, channel = sch.split(o, [None, tile.columns])
    sch.reorder(n, block, panel, row, column_tile, ky, run, k, column, channel)
    task = sch.fuse(n, block) if kernel.share_rows else sch.fuse(n, block, panel)
    sch.parallel(task)
    if not kernel.bordered:
        padded = sch.get_sblock("padded")
        sch.compute_at(padded, task)
        # Of a pixel's channels, where whole vectors divide them.
        vectorize_channels(sch, padded, kernel.channels, _COPY_LANES)
    sch.reverse_compute_at(result, column_tile, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(result), store_lanes(kernel.outputs, tile.lanes))
    unroll_tile(sch, [column, channel], tile.lanes)
    taps = kernel.window.kernel[0] * kernel.runs[0] * -(-kernel.runs[1] // WORD)
    prefetch_rows(sch, k, tile.columns, kernel.padded_columns * taps)
    sch.decompose_reduction(product, ky)
