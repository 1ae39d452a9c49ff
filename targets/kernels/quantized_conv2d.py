"""Dense convolution on 8-bit integers, direct: `conv2d`, with four neighbouring inputs of a window's row in a word.

A row of the window is read as one run of kw I bytes where it is contiguous (dilation 1), which a stem of three
channels fills to words too; else pixel by pixel, the channels padded to words. The border holds the zero point of x.
Each parallel task copies its rows with their border into cache; channels that fill no vector are too slow to copy so,
and the border comes with x (`bordered`): whatever makes x writes it where it has to lie.
"""

import math
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
from lwc.targets.kernels.tiling import OutputChannels, RegisterTile, register_tile, round_up, store_lanes
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
    bordered: bool  # x comes as `bordered_shape` says
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
        """Pixels above, below, left and right of a bordered x, with room for the last word of the last row."""
        top, _, left, _ = self.window.padding
        height, width = self.source_size
        more = -(-WORD // self.channels)
        rows, columns = self.input_size
        return top, max(0, height - top - rows), left, max(0, width - left - columns) + more

    @property
    def runs(self) -> tuple[int, int]:
        """The runs of contiguous bytes in a row of the window, and the bytes of each, unpadded."""
        columns = self.window.kernel[1]
        return (1, columns * self.channels) if self.window.dilation[1] == 1 else (columns, self.channels)


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
        window.dilation[1] == 1 and channels % _COPY_LANES != 0,
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


def compute(
    kernel: QuantizedConv2d, x: Any, weight: Any, bias: Any, multiplier: Any, residual: Any = None
) -> Any:
    """The tensor expression; x (N, H, W, C) of bytes, weight packed, the others like y."""
    (kh, _), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    oh, ow = kernel.output_size
    rows, columns = round_up(oh, kernel.row_block), round_up(ow, kernel.tile.rows)
    source = _rows(kernel, x)
    count, size = kernel.runs
    step = kernel.channels if count == 1 else round_up(kernel.channels, WORD)
    nr = kernel.tile.columns
    ky, run = te.reduce_axis((0, kh), name="ky"), te.reduce_axis((0, count), name="run")
    k = te.reduce_axis((0, -(-size // WORD)), name="k")

    def term(n: Any, h: Any, w: Any, o: Any) -> Any:
        start = (w * sw + run * dw) * step + WORD * k
        four = word(lambda byte: source[n, h * sh + ky * dh, start + byte])
        products = dot(kernel.dot_product, four, weight[o // nr, ky, run, k, o % nr], tirx.const(0, "int32"))
        return te.sum(products, axis=[ky, run, k])

    product = te.compute((kernel.batch, rows, columns, kernel.padded_columns), term, name="product")
    return te.compute(
        (kernel.batch, oh, ow, kernel.stored_columns),
        lambda n, h, w, o: kernel.requantize(
            product[n, h, w, o] + bias[o], multiplier[o], at(residual, n, h, w, o)
        ),
        name="result",
    )


def _rows(kernel: QuantizedConv2d, x: Any) -> Any:
    """Rows of x with their border, each one run of bytes; the last word of a run may reach beyond its pixels."""
    height, width = kernel.source_size
    top, _, left, _ = kernel.window.padding
    if kernel.bordered:
        _, height, width, channels = (int(extent) for extent in x.shape)
        return te.compute(
            (kernel.batch, height, width * channels),
            lambda n, h, b: x[n, h, b // channels, b % channels],
            name="padded",
        )
    rows, columns = kernel.input_size
    channels = kernel.channels
    step = channels if kernel.runs[0] == 1 else round_up(channels, WORD)
    size = round_up(width * step, WORD) + WORD

    def byte(n: Any, h: Any, b: Any) -> Any:
        y, z, c = h - top, b // step - left, b % step
        inside = tirx.all(y >= 0, y < rows, z >= 0, z < columns, c < channels)
        border = tirx.const(kernel.input_zero_point, kernel.input_dtype)
        return tirx.if_then_else(inside, x[n, y, z, c], border)

    return te.compute((kernel.batch, height, size), byte, name="padded")


def schedule(sch: Schedule, kernel: QuantizedConv2d) -> None:
    """Register tiles, blocks of rows and parallel tasks for the function that `compute` gave."""
    tile = kernel.tile
    padded, product, result = (sch.get_sblock(name) for name in ("padded", "product", "result"))
    n, h, w, o, ky, run, k = sch.get_loops(product)
    block, row = sch.split(h, [None, kernel.row_block])
    column_tile, column = sch.split(w, [None, tile.rows])
    panel, channel = sch.split(o, [None, tile.columns])
    sch.reorder(n, block, panel, row, column_tile, ky, run, k, column, channel)
    task = sch.fuse(n, block) if kernel.share_rows else sch.fuse(n, block, panel)
    sch.parallel(task)
    if kernel.bordered:
        sch.compute_inline(padded)
    else:
        sch.compute_at(padded, task)
        # Of a pixel's channels, where whole vectors divide them.
        vectorize_channels(sch, padded, kernel.channels, _COPY_LANES)
    sch.reverse_compute_at(result, column_tile, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(result), store_lanes(kernel.outputs, tile.lanes))
    unroll_tile(sch, [column, channel], tile.lanes)
    taps = kernel.window.kernel[0] * kernel.runs[0] * -(-kernel.runs[1] // WORD)
    prefetch_rows(sch, k, tile.columns, kernel.padded_columns * taps)
    sch.decompose_reduction(product, ky)
