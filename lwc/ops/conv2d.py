"""`lwc::conv2d`: a convolution with asymmetric padding, a stated layout, its residual and its activation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx
from torch.nn import functional

from lwc.ops.activation import apply_epilogue
from lwc.ops.view import OperatorView

_TO_NCHW = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)


@torch.library.custom_op("lwc::conv2d", mutates_args=())
def conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    activation: str,
    minimum: float | None,
    maximum: float | None,
    input_layout: str,
    output_layout: str,
    kernel: str = "auto",
) -> torch.Tensor:
    """clamp(activation(conv(x, weight) + bias + residual), minimum, maximum).

    x: (N, C, H, W) or (N, H, W, C) by `input_layout`; weight: (O, C / groups, kh, kw); bias: (O,).
    padding: zeros added (top, bottom, left, right), in pixels.
    The result lies in `output_layout`, as does `residual`, which has the result's shape.
    kernel: how a compiled library computes it, which changes nothing here; `auto` leaves that to the compiler.
    """
    image = x if input_layout == "NCHW" else x.permute(_TO_NCHW)
    top, bottom, left, right = padding
    image = functional.pad(image, (left, right, top, bottom))
    if image.shape[1] == 1:
        # oneDNN reads past a one-channel batch whose strides look like NHWC (seen in PyTorch 2.13).
        image = image[:, 0].unsqueeze(1)
    y = functional.conv2d(image, weight, bias, tuple(stride), 0, tuple(dilation), groups)
    y = y if output_layout == "NCHW" else y.permute(_TO_NHWC)
    return apply_epilogue(y, residual, activation, minimum, maximum).clone(
        memory_format=torch.contiguous_format
    )


@conv2d.register_fake
def _conv2d_shape(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    activation: str,
    minimum: float | None,
    maximum: float | None,
    input_layout: str,
    output_layout: str,
    kernel: str = "auto",
) -> torch.Tensor:
    batch, height, width = (x.shape[a] for a in ((0, 2, 3) if input_layout == "NCHW" else (0, 1, 2)))
    rows, columns = output_size(height, width, weight.shape[2:], stride, padding, dilation)
    outputs = weight.shape[0]
    shape = (batch, outputs, rows, columns) if output_layout == "NCHW" else (batch, rows, columns, outputs)
    return x.new_empty(shape)


def output_size(
    height: int,
    width: int,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, int]:
    """Rows and columns of what a convolution makes of an image of (height, width) pixels."""
    top, bottom, left, right = padding
    rows = (height + top + bottom - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    columns = (width + left + right - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    return rows, columns


@dataclass(frozen=True)
class ConvView(OperatorView):
    """The operands of a node that calls `lwc::conv2d`, by name."""

    x: fx.Node
    weight: fx.Node
    bias: fx.Node | None
    residual: fx.Node | None
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    activation: str
    minimum: float | None
    maximum: float | None
    input_layout: str
    output_layout: str
    kernel: str = "auto"
