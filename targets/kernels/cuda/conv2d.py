"""Dense and grouped convolution on a GPU: a matrix product of the windows' pixels and the weights.

The matrix of windows never exists: a block gathers its chunk of it in shared memory, NHWC or (for the stem) NCHW.
Weights lie as [groups, O/groups/columns, K, columns], K over the rows, the columns and the channels of a window.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.conv2d import Window, Windowed
from lwc.targets.kernels.cuda.gemm import pack_tiles
from lwc.targets.kernels.cuda.products import Tile, product, product_tile, schedule_product
from lwc.targets.kernels.epilogue import Epilogue, at
from lwc.targets.kernels.padding import pixel_or_zero
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te


@dataclass(frozen=True)
class Conv2d(Windowed):
    """y = epilogue(conv(x, w) + bias, residual): x in `layout`, y (N, OH, OW, O)."""

    batch: int
    channels: int  # of the input, in all groups
    outputs: int
    groups: int
    input_size: tuple[int, int]
    window: Window
    layout: str
    tile: Tile  # rows are output pixels
    epilogue: Epilogue
    dtype: str  # of x, the weights, the residual and y

    @property
    def extents(self) -> tuple[int, int, int, int]:
        """Of the products: groups, output pixels, elements of a window, channels of a group."""
        inner = math.prod(self.window.kernel) * self.channels // self.groups
        return self.groups, self.batch * math.prod(self.output_size), inner, self.outputs // self.groups

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return math.prod(self.extents)

    @property
    def stored_columns(self) -> int:
        """The channels of the result."""
        return self.outputs


def plan(
    shape: tuple[int, ...],
    outputs: int,
    groups: int,
    window: Window,
    layout: str,
    epilogue: Epilogue,
    target: Target,
) -> Conv2d:
    """The kernel for x of `shape` (in `layout`), tiled for `target`, which has a GPU."""
    assert target.gpu is not None
    batch, height, width, channels = shape if layout == "NHWC" else [shape[a] for a in (0, 2, 3, 1)]
    pixels = batch * math.prod(window.output_size(height, width))
    inner = math.prod(window.kernel) * channels // groups
    tile = product_tile(pixels, inner, outputs // groups, target.gpu, groups)
    size, dtype = (height, width), target.gpu.numbers
    return Conv2d(batch, channels, outputs, groups, size, window, layout, tile, epilogue, dtype)


def pack(kernel: Conv2d, weight: NDArray[np.float32]) -> NDArray[Any]:
    """Weights (O, I/groups, kh, kw) in the kernel's order, zeros in the columns and the k that pad."""
    rows = weight.transpose(0, 2, 3, 1).reshape(kernel.groups, kernel.outputs // kernel.groups, -1)
    return np.stack([pack_tiles(group, kernel.tile) for group in rows]).astype(kernel.dtype)


def compute(kernel: Conv2d, x: Any, weight: Any, bias: Any, residual: Any = None) -> Any:
    """The tensor expression; x in the kernel's layout, weight packed, bias and residual like y."""
    (_, pixels, _, channels), columns = kernel.extents, kernel.tile.columns
    multiplied = product(
        kernel.tile,
        kernel.extents,
        lambda g, i, k: _pixel(kernel, x, g, i, k),
        lambda g, k, j: weight[g, j // columns, k, j % columns],
    )

    def finished(g: Any, i: Any, j: Any) -> Any:
        o = g * channels + j
        y = kernel.epilogue(multiplied[g, i, j] + bias[o], at(residual, *_place(kernel, i), o))
        return y.astype(x.dtype)

    result = te.compute((kernel.groups, pixels, channels), finished, name="result")
    oh, ow = kernel.output_size
    return te.compute(
        (kernel.batch, oh, ow, kernel.outputs),
        lambda n, h, w, o: result[o // channels, (n * oh + h) * ow + w, o % channels],
        name="image",
    )


def _place(kernel: Conv2d, i: Any) -> tuple[Any, Any, Any]:
    """Image, row and column of the output pixel `i`."""
    oh, ow = kernel.output_size
    return i // (oh * ow), i // ow % oh, i % ow


def _pixel(kernel: Conv2d, x: Any, g: Any, i: Any, k: Any) -> Any:
    """The element `k` of the window of group `g` around the output pixel `i`; zero where it lies outside x."""
    (_, kw), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    top, _, left, _ = kernel.window.padding
    channels = kernel.channels // kernel.groups
    n, h, w = _place(kernel, i)
    tap = k // channels
    row, column = h * sh + tap // kw * dh - top, w * sw + tap % kw * dw - left
    return pixel_or_zero(x, n, row, column, g * channels + k % channels, kernel.layout)


def schedule(sch: Schedule, kernel: Conv2d) -> None:
    """Blocks, threads and shared memory for the function that `compute` gave."""
    sch.reverse_compute_inline(sch.get_sblock("image"))
    nhwc = kernel.layout == "NHWC"
    # Neighbours in memory are the channels of a pixel, or the pixels of a channel.
    neighbours = kernel.channels // kernel.groups if nhwc else 1
    schedule_product(
        sch, kernel.tile, neighbours, kernel.tile.columns, kernel.extents[3], left_by_rows=not nhwc
    )
