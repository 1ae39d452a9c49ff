"""Dense and grouped convolution, direct: a tile of output pixels by output channels stays in registers.

The weights lie as [O/nr, kh, kw, I, nr]. The input is read as it is, NHWC or (for the stem) NCHW: the inner loop
broadcasts single input values, so its layout costs nothing.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.epilogue import Epilogue, at
from lwc.targets.kernels.gemm import unroll_tile
from lwc.targets.kernels.padding import padded_input
from lwc.targets.kernels.prefetch import prefetch_rows
from lwc.targets.kernels.tiling import OutputChannels, RegisterTile, register_tile, round_up, store_lanes
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te


@dataclass(frozen=True)
class Window:
    """The geometry of a convolution: extents in pixels, padding as (top, bottom, left, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Output rows and columns for an input of (height, width) pixels."""
        top, bottom, left, right = self.padding
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        return (
            (height + top + bottom - reach[0]) // self.stride[0] + 1,
            (width + left + right - reach[1]) // self.stride[1] + 1,
        )


class Windowed:
    """What the kernels have in common that move a window over an image of `input_size`, rows and columns."""

    input_size: tuple[int, int]
    window: Window

    @property
    def output_size(self) -> tuple[int, int]:
        """Output rows and columns."""
        return self.window.output_size(*self.input_size)


@dataclass(frozen=True)
class Conv2d(Windowed, OutputChannels):
    """y = epilogue(conv(x, w) + bias, residual): x in `layout`, y (N, OH, OW, stored columns)."""

    batch: int
    channels: int  # of the input, in all groups
    outputs: int
    groups: int
    input_size: tuple[int, int]
    window: Window
    layout: str
    tile: RegisterTile  # rows are neighbouring output columns of the image
    row_block: int  # output rows in one parallel task
    share_rows: bool  # a task takes all channels of its rows, not one panel
    epilogue: Epilogue

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        each = math.prod(self.window.kernel) * self.channels // self.groups
        return self.batch * math.prod(self.output_size) * self.outputs * each


def plan(
    shape: tuple[int, ...],
    outputs: int,
    groups: int,
    window: Window,
    layout: str,
    epilogue: Epilogue,
    target: Target,
) -> Conv2d:
    """The kernel for x of `shape` (in `layout`), tiled for `target`."""
    batch, height, width, channels = shape if layout == "NHWC" else [shape[a] for a in (0, 2, 3, 1)]
    oh, ow = window.output_size(height, width)
    tile = register_tile(ow, outputs // groups, target)
    if groups > 1 and (outputs // groups) % tile.lanes:
        # A vector must not reach into the next group.
        tile = RegisterTile(tile.rows, 1, 1)
    panels = round_up(outputs, tile.lanes) // tile.columns
    row_bytes = 4 * channels * (width + 2 * tile.rows)
    fit = max(1, target.l2_bytes // 2 // (row_bytes * window.stride[0]))
    block = max(1, min(fit, batch * oh // (4 * target.cores), 8))
    share = batch * -(-oh // block) >= 4 * target.cores
    if not share:
        block = max(1, min(fit, batch * oh * panels // (4 * target.cores), oh))
    return Conv2d(
        batch, channels, outputs, groups, (height, width), window, layout, tile, block, share, epilogue
    )


def pack(kernel: Conv2d, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (O, I/groups, kh, kw) in the kernel's order [O/nr, kh, kw, I/groups, nr]."""
    padded = np.zeros((kernel.padded_columns, *weight.shape[1:]), np.float32)
    padded[: kernel.outputs] = weight
    panels = padded.reshape(-1, kernel.tile.columns, *weight.shape[1:])
    return np.ascontiguousarray(panels.transpose(0, 3, 4, 2, 1))


def compute(kernel: Conv2d, x: Any, weight: Any, bias: Any, residual: Any = None) -> Any:
    """The tensor expression; x in the kernel's layout, weight packed, bias and residual like y."""
    (kh, kw), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    oh, ow = kernel.output_size
    # Whole tiles only: what lies beyond the last output row or column is computed and not stored.
    rows, columns = round_up(oh, kernel.row_block), round_up(ow, kernel.tile.rows)
    height, width = (rows - 1) * sh + dh * (kh - 1) + 1, (columns - 1) * sw + dw * (kw - 1) + 1
    top, _, left, _ = kernel.window.padding
    source = padded_input(x, top, left, height, width, kernel.layout)
    nr = kernel.tile.columns
    group_inputs, group_outputs = kernel.channels // kernel.groups, kernel.outputs // kernel.groups
    ky, kx = te.reduce_axis((0, kh), name="ky"), te.reduce_axis((0, kw), name="kx")
    k = te.reduce_axis((0, group_inputs), name="k")

    def term(n: Any, h: Any, w: Any, o: Any) -> Any:
        channel = k if kernel.groups == 1 else o // group_outputs * group_inputs + k
        y, z = h * sh + ky * dh, w * sw + kx * dw
        value = source[n, y, z, channel] if kernel.layout == "NHWC" else source[n, channel, y, z]
        return te.sum(value * weight[o // nr, ky, kx, k, o % nr], axis=[ky, kx, k])

    product = te.compute((kernel.batch, rows, columns, kernel.padded_columns), term, name="product")
    return te.compute(
        (kernel.batch, oh, ow, kernel.stored_columns),
        lambda n, h, w, o: kernel.epilogue(product[n, h, w, o] + bias[o], at(residual, n, h, w, o)),
        name="result",
    )


def schedule(sch: Schedule, kernel: Conv2d) -> None:
    """Register tiles, blocks of rows and parallel tasks for the function that `compute` gave."""
    tile = kernel.tile
    padded, product, result = (sch.get_sblock(name) for name in ("padded", "product", "result"))
    n, h, w, o, ky, kx, k = sch.get_loops(product)
    block, row = sch.split(h, [None, kernel.row_block])
    column_tile, column = sch.split(w, [None, tile.rows])
    panel, channel = sch.split(o, [None, tile.columns])
    sch.reorder(n, block, panel, row, column_tile, ky, kx, k, column, channel)
    task = sch.fuse(n, block) if kernel.share_rows else sch.fuse(n, block, panel)
    sch.parallel(task)
    sch.compute_at(padded, task)
    sch.reverse_compute_at(result, column_tile, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(result), store_lanes(kernel.outputs, tile.lanes))
    unroll_tile(sch, [column, channel], tile.lanes)
    if kernel.layout == "NHWC":
        vectorize_channels(sch, padded, kernel.channels, tile.lanes)
    taps = math.prod(kernel.window.kernel)
    size = kernel.padded_columns * taps * kernel.channels // kernel.groups
    prefetch_rows(sch, k, tile.columns, size)
    sch.decompose_reduction(product, ky)


def vectorize_channels(sch: Schedule, block: Any, channels: int, lanes: int) -> None:
    """Vectorise the innermost loop of `block`, over `channels`, where whole vectors divide it."""
    if lanes > 1 and channels % lanes == 0:
        _, lane = sch.split(sch.get_loops(block)[-1], [None, lanes])
        sch.vectorize(lane)
