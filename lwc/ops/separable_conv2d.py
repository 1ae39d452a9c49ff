"""`lwc::separable_conv2d`: a depthwise convolution and the pointwise one that reads it, each with its activation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx

from lwc.ops.conv2d import conv2d
from lwc.ops.view import OperatorView

_NHWC = ("NHWC", "NHWC")


@torch.library.custom_op("lwc::separable_conv2d", mutates_args=())
def separable_conv2d(
    x: torch.Tensor,
    window_weight: torch.Tensor,
    window_bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    window_activation: str,
    window_minimum: float | None,
    window_maximum: float | None,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    activation: str,
    minimum: float | None,
    maximum: float | None,
) -> torch.Tensor:
    """The two convolutions as `lwc::conv2d` computes them, x (N, H, W, C) to (N, OH, OW, O).

    window_weight: (C, 1, kh, kw), window_bias: (C,), then clamp(activation, minimum, maximum) by the window_ operands;
    weight: (O, C, 1, 1), bias: (O,), residual like the result, then the last three.
    padding: zeros added (top, bottom, left, right), in pixels.
    """
    window = (window_activation, window_minimum, window_maximum)
    groups = window_weight.shape[0]
    y = conv2d(x, window_weight, window_bias, None, stride, padding, dilation, groups, *window, *_NHWC)
    result: torch.Tensor = conv2d(
        y, weight, bias, residual, [1, 1], [0, 0, 0, 0], [1, 1], 1, activation, minimum, maximum, *_NHWC
    )
    return result


@separable_conv2d.register_fake
def _separable_conv2d_shape(
    x: torch.Tensor,
    window_weight: torch.Tensor,
    window_bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    window_activation: str,
    window_minimum: float | None,
    window_maximum: float | None,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    activation: str,
    minimum: float | None,
    maximum: float | None,
) -> torch.Tensor:
    groups, plain = window_weight.shape[0], ("identity", None, None)
    y = conv2d(x, window_weight, None, None, stride, padding, dilation, groups, *plain, *_NHWC)
    return x.new_empty((*y.shape[:3], weight.shape[0]))


@dataclass(frozen=True)
class SeparableView(OperatorView):
    """The operands of a node that calls `lwc::separable_conv2d`, by name."""

    x: fx.Node
    window_weight: fx.Node
    window_bias: fx.Node | None
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    window_activation: str
    window_minimum: float | None
    window_maximum: float | None
    weight: fx.Node
    bias: fx.Node | None
    residual: fx.Node | None
    activation: str
    minimum: float | None
    maximum: float | None
