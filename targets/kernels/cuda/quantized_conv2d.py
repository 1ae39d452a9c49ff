"""Dense convolution on 8-bit integers on a GPU: `conv2d`, with four neighbouring channels in a word.

Weights lie as words [O/columns, K, columns], K over the rows, the columns and the words of channels of a window. Where
the channels of x fill no whole words (an image's three), x comes as words already (`bordered`). Outside the image lies
the zero point of x.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.conv2d import Window, Windowed
from lwc.targets.kernels.cuda.block_tile import (
    BlockTile,
    block_tile,
    schedule_tile_product,
    tile_product,
)
from lwc.targets.kernels.cuda.gemm import pack_tiles
from lwc.targets.kernels.cuda.quantized_gemm import multiply
from lwc.targets.kernels.cuda.word import word_at
from lwc.targets.kernels.dot_product import word
from lwc.targets.kernels.epilogue import at
from lwc.targets.kernels.quantized_gemm import WORD
from lwc.targets.kernels.requantize import Requantize
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx


@dataclass(frozen=True)
class QuantizedConv2d(Windowed):
    """y = requantize(conv(x, w) + bias, multiplier, residual), x (N, H, W, C) and y (N, OH, OW, O)."""

    batch: int
    channels: int
    outputs: int
    input_size: tuple[int, int]
    window: Window
    tile: BlockTile  # of words; rows are output pixels
    input_dtype: str
    input_zero_point: int
    requantize: Requantize

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        each = math.prod(self.window.kernel) * self.channels
        return self.batch * math.prod(self.output_size) * self.outputs * each

    @property
    def stored_columns(self) -> int:
        """The channels of the result."""
        return self.outputs

    @property
    def bordered(self) -> bool:
        """Whether x is what `with_border` gives."""
        return self.channels % WORD != 0

    @property
    def words(self) -> int:
        """Of a pixel's channels."""
        return -(-self.channels // WORD)


def plan(
    shape: tuple[int, ...],
    outputs: int,
    window: Window,
    input_dtype: str,
    input_zero_point: int,
    requantize: Requantize,
    target: Target,
) -> QuantizedConv2d:
    """The kernel for x of `shape` (N, H, W, C), tiled for `target`, which has a GPU."""
    assert target.gpu is not None
    batch, height, width, channels = shape
    pixels = batch * math.prod(window.output_size(height, width))
    tile = block_tile(pixels, math.prod(window.kernel) * -(-channels // WORD), outputs, target.gpu)
    size = (height, width)
    return QuantizedConv2d(
        batch, channels, outputs, size, window, tile, input_dtype, input_zero_point, requantize
    )


def pack(kernel: QuantizedConv2d, weight: NDArray[np.int8]) -> NDArray[np.int32]:
    """Weights (O, I, kh, kw) as words in the kernel's order, zeros in the channels, columns and k that pad."""
    padded = np.pad(weight.transpose(0, 2, 3, 1), ((0, 0), (0, 0), (0, 0), (0, -kernel.channels % WORD)))
    return pack_tiles(padded.reshape(len(weight), -1).view(np.int32), kernel.tile)


def with_border(kernel: QuantizedConv2d, x: Any) -> Any:
    """x (N, H, W, C) of bytes as words (N, H, W, words of a pixel), zeros in the channels that pad."""

    def byte(n: Any, h: Any, w: Any, c: Any) -> Any:
        return tirx.if_then_else(c < kernel.channels, x[n, h, w, c], tirx.const(0, x.dtype))

    return te.compute(
        (*x.shape[:3], kernel.words),
        lambda n, h, w, k: word(lambda b: byte(n, h, w, WORD * k + b)),
        name="bordered",
    )


def compute(
    kernel: QuantizedConv2d, x: Any, weight: Any, bias: Any, multiplier: Any, residual: Any = None
) -> Any:
    """The tensor expression; x (N, H, W, C) of bytes or bordered, weight packed, the others like y."""
    (oh, ow), columns = kernel.output_size, kernel.tile.columns
    pixels = kernel.batch * oh * ow
    inner = math.prod(kernel.window.kernel) * kernel.words
    product = tile_product(
        kernel.tile,
        (1, pixels, inner, kernel.outputs),
        lambda b, i, k: _word(kernel, x, i, k),
        lambda b, k, j: weight[j // columns, k, j % columns],
        multiply,
        "int32",
    )

    def finished(b: Any, i: Any, j: Any) -> Any:
        addend = at(residual, *_place(kernel, i), j)
        return kernel.requantize(product[b, i, j] + bias[j], multiplier[j], addend)

    result = te.compute((1, pixels, kernel.outputs), finished, name="result")
    return te.compute(
        (kernel.batch, oh, ow, kernel.outputs),
        lambda n, h, w, o: result[0, (n * oh + h) * ow + w, o],
        name="image",
    )


def _place(kernel: QuantizedConv2d, i: Any) -> tuple[Any, Any, Any]:
    """Image, row and column of the output pixel `i`."""
    oh, ow = kernel.output_size
    return i // (oh * ow), i // ow % oh, i % ow


def _word(kernel: QuantizedConv2d, x: Any, i: Any, k: Any) -> Any:
    """Word `k` of the window around the output pixel `i`."""
    (_, kw), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    top, _, left, _ = kernel.window.padding
    n, h, w = _place(kernel, i)
    tap, four = k // kernel.words, k % kernel.words
    row, column = h * sh + tap // kw * dh - top, w * sw + tap % kw * dw - left
    inside = tirx.all(row >= 0, row < kernel.input_size[0], column >= 0, column < kernel.input_size[1])
    value = x[n, row, column, four] if kernel.bordered else word_at(x[n, row, column, WORD * four])
    filled = int(np.full(WORD, kernel.input_zero_point, kernel.input_dtype).view(np.int32)[0])
    return tirx.if_then_else(inside, value, tirx.const(filled, "int32"))


def schedule(sch: Schedule, kernel: QuantizedConv2d) -> None:
    """Blocks, threads and shared memory for the function that `compute` gave."""
    sch.reverse_compute_inline(sch.get_sblock("image"))
    schedule_tile_product(sch, kernel.tile, 1, 1)
