"""3x3 convolution with fewer multiplications: Winograd's minimal filtering, with all of its steps in one kernel.

A tile of m x m results comes from a tile of t x t pixels, t = m + 2, as A^T ((G g G^T) * (B^T d B)) A: the products
with B and A are additions, and the sum over channels in between becomes t * t matrix products (A. Lavin and S. Gray,
"Fast Algorithms for Convolutional Neural Networks", CVPR 2016). A parallel task takes a block of rows of tiles through
all steps, so that what is between them stays in cache. The weights are transformed at compile time and lie as
[t, t, O/nr, C, nr].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.conv2d import Window, Windowed
from lwc.targets.kernels.epilogue import Epilogue, at
from lwc.targets.kernels.gemm import pack_panels
from lwc.targets.kernels.padding import padded_input
from lwc.targets.kernels.tiling import OutputChannels, RegisterTile, largest_divisor, register_tile
from lwc.targets.target import Target
from lwc.tvm_api import te, tirx

# F(4x4, 3x3) takes 0.35 of the direct kernel's time where this takes 0.53, but its error is four times PyTorch's.
RESULTS = 2  # m
PIXELS = RESULTS + 2  # t
# Of F(2x2, 3x3).
_INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))  # B^T
_FILTER = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))  # G
_RESULT = ((1, 1, 1, 0), (0, 1, -1, -1))  # A^T
_FEWEST_CHANNELS, _FEWEST_ACCUMULATORS = 16, 8
_MOST_CACHES = 4  # the second-level caches that what is between the steps of a task may fill
_MOST_PRODUCTS = 0.6  # of the direct kernel's; 4 / 9 where tiles fit the image


@dataclass(frozen=True)
class Winograd(Windowed, OutputChannels):
    """y = epilogue(conv(x, w) + bias, residual) for a 3x3 window of stride 1: x and y NHWC."""

    batch: int
    channels: int
    outputs: int
    input_size: tuple[int, int]
    window: Window
    tile: RegisterTile  # of the products: tiles of the image by output channels
    row_block: int  # rows of tiles in one parallel task
    epilogue: Epilogue

    @property
    def image_tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles in an image."""
        rows, columns = self.output_size
        return -(-rows // RESULTS), -(-columns // RESULTS)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run: those of the matrix products."""
        rows, columns = self.image_tiles
        return PIXELS**2 * self.batch * rows * columns * self.channels * self.outputs


def plan(
    shape: tuple[int, ...], outputs: int, window: Window, epilogue: Epilogue, target: Target
) -> Winograd:
    """The kernel for x of `shape` (N, H, W, C), tiled for `target`."""
    batch, height, width, channels = shape
    rows, columns = (-(-extent // RESULTS) for extent in window.output_size(height, width))
    # Half of the second-level cache holds the transformed pixels of a task, where a row of tiles is no more than that;
    # and each core has a task.
    fit = target.l2_bytes // 2 // (4 * PIXELS**2 * channels * columns)
    row_block = largest_divisor(rows, max(1, min(fit, batch * rows // target.cores)))
    tile = register_tile(row_block * columns, outputs, target, exact=True)
    return Winograd(batch, channels, outputs, (height, width), window, tile, row_block, epilogue)


def suits(shape: tuple[int, ...], outputs: int, window: Window, target: Target) -> bool:
    """Whether this is the faster kernel for x of `shape` (N, H, W, C): transforms have to pay for themselves."""
    if window.kernel != (3, 3) or window.stride != (1, 1) or window.dilation != (1, 1):
        return False
    if min(shape[3], outputs) < _FEWEST_CHANNELS:
        return False
    kernel = plan(shape, outputs, window, Epilogue(), target)
    pixels, tiles = math.prod(kernel.output_size), math.prod(kernel.image_tiles)
    if PIXELS**2 * tiles > _MOST_PRODUCTS * 9 * pixels:
        return False
    borrowed = 4 * PIXELS**2 * kernel.row_block * kernel.image_tiles[1] * (kernel.channels + outputs)
    if borrowed > _MOST_CACHES * target.l2_bytes:
        return False
    return kernel.tile.rows * kernel.tile.columns >= _FEWEST_ACCUMULATORS * kernel.tile.lanes


def pack(kernel: Winograd, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (O, I, 3, 3), transformed, in the kernel's order [t, t, O/nr, I, nr]."""
    transform = np.array(_FILTER)
    places = np.einsum("ay,oiyx,bx->aboi", transform, weight.astype(np.float64), transform)
    panels = [pack_panels(place, kernel.tile) for row in places.astype(np.float32) for place in row]
    return np.stack(panels).reshape(PIXELS, PIXELS, *panels[0].shape)


def compute(kernel: Winograd, x: Any, weight: Any, bias: Any, residual: Any = None) -> Any:
    """The tensor expression; x (N, H, W, C), weight packed, bias (stored columns), residual like y."""
    (rows, columns), (top, _, left, _) = kernel.image_tiles, kernel.window.padding
    padded = padded_input(x, top, left, rows * RESULTS + 2, columns * RESULTS + 2, "NHWC")
    products = _products(kernel, _pixels(kernel, padded), weight)
    oh, ow = kernel.output_size
    sums = te.compute(
        (RESULTS, PIXELS, kernel.batch * rows, columns, kernel.stored_columns),
        lambda p, b, r, s, o: _combine(
            _RESULT, p, [products[a, b, r * columns + s, o] for a in range(PIXELS)]
        ),
        name="sums",
    )

    def result(n: Any, h: Any, w: Any, o: Any) -> Any:
        r, s = n * rows + h // RESULTS, w // RESULTS
        terms = [sums[h % RESULTS, b, r, s, o] for b in range(PIXELS)]
        value = _combine(_RESULT, w % RESULTS, terms)
        return kernel.epilogue(value + bias[o], at(residual, n, h, w, o))

    return te.compute((kernel.batch, oh, ow, kernel.stored_columns), result, name="result")


def _pixels(kernel: Winograd, padded: Any) -> Any:
    """B^T d B as (t, t, rows of tiles of all images, columns of tiles, C)."""
    (rows, columns), channels = kernel.image_tiles, kernel.channels
    extents = (kernel.batch * rows, columns, channels)
    lines = te.compute(
        (PIXELS, PIXELS, *extents),
        lambda a, j, r, s, c: _combine(
            _INPUT,
            a,
            [padded[r // rows, r % rows * RESULTS + i, s * RESULTS + j, c] for i in range(PIXELS)],
        ),
        name="lines",
    )
    return te.compute(
        (PIXELS, PIXELS, *extents),
        lambda a, b, r, s, c: _combine(_INPUT, b, [lines[a, j, r, s, c] for j in range(PIXELS)]),
        name="pixels",
    )


def _products(kernel: Winograd, pixels: Any, weight: Any) -> Any:
    """The sums over the channels, (t, t, tiles of all images, padded columns)."""
    (rows, columns), nr = kernel.image_tiles, kernel.tile.columns
    k = te.reduce_axis((0, kernel.channels), name="k")
    product = te.compute(
        (PIXELS, PIXELS, kernel.batch * rows * columns, kernel.padded_columns),
        lambda a, b, i, o: te.sum(
            pixels[a, b, i // columns, i % columns, k] * weight[a, b, o // nr, k, o % nr], axis=k
        ),
        name="product",
    )
    # The sums are in registers; this is their place in memory.
    return te.compute(product.shape, lambda *place: product(*place), name="products")


def _combine(matrix: Sequence[Sequence[int]], row: Any, values: Sequence[Any]) -> Any:
    """Row number `row` of `matrix` times `values`; TVM resolves the choice where `row` is unrolled."""
    *others, last = [_signed_sum(signs, values) for signs in matrix]
    for number, value in reversed(list(enumerate(others))):
        last = tirx.Select(row == number, value, last)
    return last


def _signed_sum(signs: Sequence[int], values: Sequence[Any]) -> Any:
    first, *others = [(sign, value) for sign, value in zip(signs, values, strict=True) if sign]
    total = first[1] if first[0] > 0 else -first[1]
    for sign, value in others:
        total = total + value if sign > 0 else total - value
    return total
