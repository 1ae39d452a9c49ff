"""Depthwise convolution on 8-bit integers on a GPU: `depthwise`, on 32-bit integers in registers.

The products of a channel stay by themselves, so that nothing is gained from dot products: what takes time is the
traffic, a quarter of that in float32. The weights lie as [kh, kw, C] in bytes. Outside the image lies the zero point.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.conv2d import Window, Windowed
from lwc.targets.kernels.cuda.depthwise import schedule_threads, thread_tile
from lwc.targets.kernels.epilogue import at
from lwc.targets.kernels.requantize import Requantize
from lwc.targets.kernels.tiling import round_up
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx


@dataclass(frozen=True)
class QuantizedDepthwise(Windowed):
    """y = requantize(sum over the window of x w[c] + bias[c], multiplier[c], residual), NHWC in and out."""

    batch: int
    channels: int
    input_size: tuple[int, int]
    window: Window
    lanes: int  # channels of a thread
    pixels: int  # neighbouring columns of a thread
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
    residual: bool = False,
    largest: float = math.inf,
) -> QuantizedDepthwise:
    """The kernel for x of `shape` (N, H, W, C); `residual` and `largest` decide something on processors only."""
    assert target.gpu is not None
    batch, height, width, channels = shape
    oh, ow = window.output_size(height, width)
    lanes, pixels = thread_tile(batch * oh, ow, channels, target.gpu)
    size = (height, width)
    return QuantizedDepthwise(
        batch, channels, size, window, lanes, pixels, input_dtype, input_zero_point, requantize
    )


def pack(kernel: QuantizedDepthwise, weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Weights (C, 1, kh, kw) in the kernel's order [kh, kw, C]."""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0))


def in_order(kernel: QuantizedDepthwise, constant: NDArray[Any]) -> NDArray[Any]:
    """A constant by channel (C,), as `compute` takes it."""
    return constant


def compute(
    kernel: QuantizedDepthwise, x: Any, weight: Any, bias: Any, multiplier: Any, residual: Any = None
) -> Any:
    """The tensor expression; x (N, H, W, C) of bytes, weight packed, bias and multiplier (C,), residual like y."""
    (kh, kw), (sh, sw), (dh, dw) = kernel.window.kernel, kernel.window.stride, kernel.window.dilation
    oh, ow = kernel.output_size
    columns = round_up(ow, kernel.pixels)
    source = _padded(kernel, x, (oh - 1) * sh + dh * (kh - 1) + 1, (columns - 1) * sw + dw * (kw - 1) + 1)
    ky, kx = te.reduce_axis((0, kh), name="ky"), te.reduce_axis((0, kw), name="kx")

    def term(n: Any, h: Any, w: Any, c: Any) -> Any:
        pixel = source[n, h * sh + ky * dh, w * sw + kx * dw, c]
        return te.sum(pixel.astype("int32") * weight[ky, kx, c].astype("int32"), axis=[ky, kx])

    product = te.compute((kernel.batch, oh, columns, kernel.channels), term, name="product")
    return te.compute(
        (kernel.batch, oh, ow, kernel.channels),
        lambda n, h, w, c: kernel.requantize(
            product[n, h, w, c] + bias[c], multiplier[c], at(residual, n, h, w, c)
        ),
        name="result",
    )


def _padded(kernel: QuantizedDepthwise, x: Any, height: int, width: int) -> Any:
    top, _, left, _ = kernel.window.padding
    rows, columns = kernel.input_size

    def pixel(n: Any, h: Any, w: Any, c: Any) -> Any:
        y, z = h - top, w - left
        inside = tirx.all(y >= 0, y < rows, z >= 0, z < columns)
        border = tirx.const(kernel.input_zero_point, kernel.input_dtype)
        return tirx.if_then_else(inside, x[n, y, z, c], border)

    return te.compute((kernel.batch, height, width, kernel.channels), pixel, name="padded")


def schedule(sch: Schedule, kernel: QuantizedDepthwise) -> None:
    """Threads, and what each keeps in registers, for the function that `compute` gave."""
    schedule_threads(sch, kernel, kernel.pixels, kernel.lanes, in_vectors=False)
