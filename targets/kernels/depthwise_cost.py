"""What the kernels of depthwise convolutions cost, in processor cycles: enough to rank them, not to predict a time.

    cycles = (arithmetic + copy + tests + traffic) / cores in use + start

- arithmetic: two fused multiply-adds a cycle, each load a quarter of a cycle beside them; a tile's loads are its
  distinct input pixels and its weights where the window is unrolled, all that it multiplies where it is not.
- copy: for `padded`, each vector of the input with its border.
- tests: for kernels that read the image itself, one for each pixel and tap where the window is not unrolled; a map of
  at most two column tiles has none, as the compiler resolves them.
- traffic: input and output between the first and the second cache; the input once more for each row of tiles that
  needs it where the first cache does not hold it. Pixels that lie a power of two apart share few sets of that cache.
  What does not fit into the cores' second caches moves once more, more slowly.

The constants were fitted to times on one core of an AMD EPYC (Zen 5), with AVX-512 and with AVX2, of 30 layers each:
those of MobileNetV1 and V2, and others with windows of 5 x 5 and 7 x 7. Other machines were not measured.
`python benchmarks/depthwise_kernels.py mobilenet_v1 mobilenet_v2 --alone` tells how often the kernel that costs least
is within 5 % of the fastest. There, on 2026-11-26, it was in 16 of 18 layers with AVX-512, all of them together 1.1 %
slower than the fastest; with `--target x86-64-v3` in 13 of 18 and 6.6 % slower. With the pointwise convolutions, and
deeplabv3_mobilenet_v2 for maps beyond the caches (no `--alone`), it was in 31 of 33, and 3.1 % slower.
"""

import math

from lwc.targets.kernels import depthwise, gemm, separable
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.depthwise import UNROLLED, Depthwise
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.kernels.gemm import Gemm
from lwc.targets.kernels.separable import Separable
from lwc.targets.kernels.tiling import RegisterTile, imbalance, round_up
from lwc.targets.target import Target

_MULTIPLY_ADDS, _LOADS = 2.0, 4.0  # a cycle
_COPY = 2.5  # cycles for a vector
_TEST = 0.8  # cycles for a pixel
_NEAR, _FAR = 32.0, 8.0  # bytes a cycle from the second cache, and from beyond
# There it keeps some inputs on the stack: 0.62 of what LLVM's model of a Cortex-A57 allows, where `direct` has 0.92.
_ROWS_ON_NEON = 1.5
_START = 6000.0  # cycles to hand a loop to the threads and wait for them
_LINE, _WAY = 64, 4096  # bytes of a cache line, and of one way of the first cache


def kernel_costs(
    shape: tuple[int, ...], window: Window, outputs: int | None, target: Target
) -> dict[str, float]:
    """What a depthwise convolution of x of `shape` (N, H, W, C) costs with each kernel, by the kernel's name.

    With `outputs`, the costs are those of the convolution and a pointwise one after it, of so many channels.
    """
    plain = Epilogue()
    costs = {
        name: depthwise_cycles(depthwise.plan(shape, window, plain, target, name), target)
        for name in depthwise.KERNELS
    }
    if target.multiplies_by_element:
        costs["rows"] *= _ROWS_ON_NEON
    if outputs is None:
        return costs
    rows = shape[0] * math.prod(window.output_size(*shape[1:3]))
    after = pointwise_cycles(gemm.plan(rows, shape[3], outputs, plain, target), target)
    joined = separable.plan(shape, outputs, window, (plain, plain), target)
    return {name: cost + after for name, cost in costs.items()} | {
        separable.NAME: separable_cycles(joined, target)
    }


def depthwise_cycles(kernel: Depthwise, target: Target) -> float:
    """The cost of a depthwise convolution by itself."""
    oh, ow = kernel.output_size
    rows = kernel.batch * round_up(oh, kernel.row_block)
    cycles = _window_cycles(kernel.window, kernel.tile, kernel.tile_rows, rows, ow, kernel.channels)
    if not kernel.copies:
        cycles += _test_cycles(kernel.window, kernel.tile, rows, ow, kernel.channels)
    read, written = _image_bytes(kernel), 4 * kernel.batch * oh * ow * kernel.channels
    halo = _rows_read(kernel.window, kernel.row_block) / (kernel.row_block * kernel.window.stride[0])
    if kernel.copies:
        cycles += _COPY * halo * read / (4 * kernel.tile.lanes)
    elif not _stays_near(kernel, kernel.channel_block, target):
        halo = _rows_read(kernel.window, kernel.tile_rows) / (kernel.tile_rows * kernel.window.stride[0])
    cycles += (max(1.0, halo) * read + written) / _NEAR + _far_cycles(read + written, target)
    tasks = rows // kernel.row_block * (kernel.channels // kernel.channel_block)
    return cycles / _cores(tasks, target) + _START


def pointwise_cycles(kernel: Gemm, target: Target) -> float:
    """The cost of the pointwise convolution that follows."""
    read, written = 4 * kernel.rows * kernel.inner, 4 * kernel.rows * kernel.stored_columns
    panels = kernel.padded_columns // kernel.tile.columns
    groups = -(-kernel.rows // (kernel.tile.rows * kernel.row_tiles))
    rows = groups * kernel.row_tiles * kernel.tile.rows
    cycles = _product_cycles(rows, kernel.inner, kernel.padded_columns, kernel.tile, groups)
    cycles += (panels * read + written) / _NEAR + _far_cycles(read + written, target)
    return cycles / _cores(groups * kernel.row_tiles * panels, target) + _START


def separable_cycles(kernel: Separable, target: Target) -> float:
    """The cost of both in one kernel: what is between them moves near the core only, the weights to every task."""
    oh, ow = kernel.output_size
    rows, channels, outputs = kernel.batch * oh, kernel.channels, kernel.padded_columns
    tasks = rows // kernel.row_block
    cycles = _window_cycles(kernel.window, kernel.window_tile, kernel.window_rows, rows, ow, channels)
    cycles += _test_cycles(kernel.window, kernel.window_tile, rows, ow, channels)
    pixels = tasks * round_up(kernel.row_block * ow, kernel.tile.rows)
    cycles += _product_cycles(pixels, channels, outputs, kernel.tile, tasks)
    read, written = _image_bytes(kernel), 4 * rows * ow * outputs
    again = _rows_read(kernel.window, kernel.window_rows) / (kernel.window_rows * kernel.window.stride[0])
    block = 4 * kernel.row_block * ow * channels
    between = tasks * block * (1 + outputs // kernel.tile.columns)
    cycles += (max(1.0, again) * read + written) / _NEAR + _far_cycles(read + written, target)
    cycles += between / (_NEAR if block <= target.l2_bytes // 2 else _FAR)
    return cycles / _cores(tasks, target) + _START


def _window_cycles(
    window: Window, tile: RegisterTile, tile_rows: int, rows: int, columns: int, channels: int
) -> float:
    """Arithmetic of a depthwise convolution with `rows` x `columns` x `channels` results, in tiles."""
    vectors = tile.columns // tile.lanes
    taps = window.kernel[0] * window.kernel[1]
    sums = tile_rows * tile.rows * vectors
    pixels = _rows_read(window, tile_rows) * _reach(window, 1, tile.rows)
    loads = (pixels + taps) * vectors if taps <= UNROLLED else taps * (sums + vectors)
    tiles = -(-rows // tile_rows) * -(-columns // tile.rows) * (channels // tile.columns)
    return tiles * (sums * taps / _MULTIPLY_ADDS + loads / _LOADS)


def _test_cycles(window: Window, tile: RegisterTile, rows: int, columns: int, channels: int) -> float:
    taps = window.kernel[0] * window.kernel[1]
    if taps <= UNROLLED or columns <= 2 * tile.rows:
        return 0.0
    return _TEST * taps * rows * columns * (channels // tile.columns)


def _product_cycles(rows: int, inner: int, columns: int, tile: RegisterTile, groups: int) -> float:
    """Arithmetic of a matrix product, and its weights, which are fetched in order, for each of `groups` of rows."""
    weights = 4 * inner * columns
    loads = 1 / tile.rows + tile.lanes / tile.columns
    vectors = rows * inner * (columns // tile.lanes)
    return vectors * (1 / _MULTIPLY_ADDS + loads / _LOADS / 4) + groups * weights / _NEAR


def _reach(window: Window, axis: int, results: int) -> int:
    """How many input rows (axis 0) or columns (axis 1) that many neighbouring results read."""
    kernel, stride, dilation = window.kernel[axis], window.stride[axis], window.dilation[axis]
    return min(results * kernel, (results - 1) * stride + dilation * (kernel - 1) + 1)


def _rows_read(window: Window, results: int) -> int:
    return _reach(window, 0, results)


def _image_bytes(kernel: Depthwise | Separable) -> int:
    return 4 * kernel.batch * kernel.input_size[0] * kernel.input_size[1] * kernel.channels


def _stays_near(kernel: Depthwise, channels: int, target: Target) -> bool:
    """Whether the first cache holds the input rows of a tile until the next row of tiles reads them again."""
    pixel = max(1, 4 * kernel.channels // _LINE)
    lines = max(1, 4 * channels // _LINE)
    sets = _WAY // _LINE
    reachable = min(1.0, lines / math.gcd(pixel, sets))
    used = _rows_read(kernel.window, kernel.tile_rows) * kernel.input_size[1] * lines * _LINE
    # A quarter is for results and weights.
    return used <= 0.75 * reachable * target.l1_bytes


def _far_cycles(moved: int, target: Target) -> float:
    return moved / _FAR if moved > target.l2_bytes * target.cores else 0.0


def _cores(tasks: int, target: Target) -> float:
    """How many cores the tasks keep busy, on average."""
    return target.cores / imbalance(tasks, target.cores)
