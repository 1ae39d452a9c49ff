"""What a depthwise convolution and the pointwise one after it cost a GPU, in two kernels or in one.

    cycles = launches + work of the busiest multiprocessor

- launch: of each kernel, with the reads at its start and the stores at its end that nothing hides.
- product: what `block_tile.py` counts, in pairs that a multiprocessor multiplies in the same time.
- depthwise: arithmetic; loads of pixels and weights from the first-level cache; into that, once for each block of
  threads, the pixels that it needs. By itself, its result is stored, and fetched by the product. Joined, it is part of
  the product, and is computed again for each block of other output channels; few blocks leave multiprocessors idle.

The constants are of an A100, from NVIDIA's documents, or estimates, as said: nothing was fitted to measured times.
"""

import math

from lwc.targets.gpu import Gpu
from lwc.targets.kernels import separable
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.cuda import depthwise
from lwc.targets.kernels.cuda.block_tile import FETCH, LANES, BlockTile, block_tile, pairs_for_each_k
from lwc.targets.kernels.cuda.warp_product import MOST_ROWS

APART = "apart"

# A multiprocessor's, in a cycle: CUDA C++ Programming Guide, "Arithmetic Instructions".
_PAIRS = 64.0
# Pairs that it multiplies while its first-level cache gives one value: 128 bytes a cycle.
_LOAD = _PAIRS * 4 / 128
# Cycles: 1.5 microseconds, an estimate.
_LAUNCH = 2100.0


def kernel_costs(shape: tuple[int, ...], window: Window, outputs: int, gpu: Gpu) -> dict[str, float]:
    """Cycles for x of `shape` (N, H, W, C) and `outputs` channels: `apart` in two kernels, `separable` in one."""
    pixels, channels = _pixels(shape, window), shape[3]
    product = _product_pairs(pixels, channels, outputs, gpu)
    tile = separable_tile(shape, window, outputs, gpu)
    both = pairs_for_each_k(tile, pixels, outputs, gpu, left=_joined_pairs(tile, shape, window))
    return {
        APART: 2 * _LAUNCH + (_alone_pairs(shape, window, gpu) + channels * product) / _PAIRS,
        separable.NAME: _LAUNCH + channels * both / _PAIRS,
    }


def separable_tile(shape: tuple[int, ...], window: Window, outputs: int, gpu: Gpu) -> BlockTile:
    """The tile of the product, output pixels by output channels, that costs least in one kernel."""

    def left(tile: BlockTile) -> float:
        return _joined_pairs(tile, shape, window)

    return block_tile(_pixels(shape, window), shape[3], outputs, gpu, left=left)


def _pixels(shape: tuple[int, ...], window: Window) -> int:
    return shape[0] * math.prod(window.output_size(*shape[1:3]))


def _product_pairs(rows: int, inner: int, columns: int, gpu: Gpu) -> float:
    """What the product by itself costs the busiest multiprocessor for each k."""
    if rows <= MOST_ROWS:
        # All time goes into reading the weights.
        return FETCH * columns / gpu.multiprocessors
    return pairs_for_each_k(block_tile(rows, inner, columns, gpu), rows, columns, gpu)


def _joined_pairs(tile: BlockTile, shape: tuple[int, ...], window: Window) -> float:
    """What a depthwise result costs a block of `tile`."""
    # A thread computes so many results in turn with the same weights.
    results = max(1.0, tile.rows * min(tile.chunk, shape[3]) / (LANES * tile.threads))
    taps = math.prod(window.kernel)
    return taps + _LOAD * taps * (1 + 1 / results) + FETCH * _pixels_read(shape, window, tile.rows)


def _alone_pairs(shape: tuple[int, ...], window: Window, gpu: Gpu) -> float:
    """What all depthwise results cost the busiest multiprocessor, in a kernel of their own."""
    batch, height, width, channels = shape
    (oh, ow), taps = window.output_size(height, width), math.prod(window.kernel)
    lanes, pixels = depthwise.thread_tile(batch * oh, ow, channels, gpu)
    loads = (window.kernel[0] * _reach(window, 1, pixels) + taps) / pixels
    block_pixels = max(pixels, depthwise.BLOCK_THREADS * lanes * pixels // channels)
    moved = _pixels_read(shape, window, block_pixels) + 1
    results = batch * oh * ow * channels
    threads = results / (lanes * pixels * gpu.multiprocessors)
    busy = min(1.0, threads / depthwise.THREADS_TO_HIDE_LATENCY)
    return results * (taps + _LOAD * loads + FETCH * moved) / (gpu.multiprocessors * busy)


def _pixels_read(shape: tuple[int, ...], window: Window, pixels: int) -> float:
    """How many pixels of x have to be fetched for each of `pixels` neighbouring ones of the result."""
    _, columns = window.output_size(*shape[1:3])
    rows = max(1.0, pixels / columns)
    return _reach(window, 0, rows) * _reach(window, 1, min(pixels, columns)) / pixels


def _reach(window: Window, axis: int, results: float) -> float:
    """How many rows (axis 0) or columns (axis 1) of x that many neighbouring results read."""
    kernel, stride, dilation = window.kernel[axis], window.stride[axis], window.dilation[axis]
    return min(results * kernel, (results - 1) * stride + dilation * (kernel - 1) + 1)
