"""Layers on 8-bit integers: `lwc::qconv2d`, `lwc::qlinear`, `lwc::qmean` and `lwc::rescale`.

The operands from `residual` on are those of `requantize`, and mean the same in each. A result of `zero_point` None is
float32, else of the type of x.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from lwc.ops.conv2d import output_size
from lwc.ops.requantize import requantize
from lwc.ops.view import OperatorView


@torch.library.custom_op("lwc::qconv2d", mutates_args=())
def qconv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    multiplier: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    input_zero_point: int,
    residual: torch.Tensor | None,
    residual_multiplier: float,
    residual_zero_point: int,
    activation: str,
    inverse_scale: float,
    minimum: float | None,
    maximum: float | None,
    zero_point: int | None,
) -> torch.Tensor:
    """requantize(conv(x - input_zero_point, weight) + bias), x (N, H, W, C) to (N, OH, OW, O).

    x: uint8 or int8; weight: int8 (O, C / groups, kh, kw); bias: int32 (O,); multiplier: float32 (O,).
    padding: of the real number 0 (top, bottom, left, right), in pixels.
    """
    image = x.permute(0, 3, 1, 2).double() - input_zero_point
    top, bottom, left, right = padding
    image = functional.pad(image, (left, right, top, bottom)).contiguous()
    sums = functional.conv2d(
        image, weight.double(), bias.double(), tuple(stride), 0, tuple(dilation), groups
    ).permute(0, 2, 3, 1)
    return requantize(
        sums,
        multiplier,
        residual,
        residual_multiplier,
        residual_zero_point,
        activation,
        inverse_scale,
        minimum,
        maximum,
        zero_point,
        x.dtype,
    ).contiguous()


@qconv2d.register_fake
def _qconv2d_shape(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    multiplier: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    *rest: Any,
) -> torch.Tensor:
    batch, height, width, _ = x.shape
    size = output_size(height, width, weight.shape[2:], stride, padding, dilation)
    return _empty(x, (batch, *size, weight.shape[0]), multiplier, rest)


def _empty(x: torch.Tensor, shape: Sequence[int], multiplier: torch.Tensor, rest: Any) -> torch.Tensor:
    """A result for the operands `rest`, of which the last is its zero point."""
    return torch.empty(shape, dtype=multiplier.dtype if rest[-1] is None else x.dtype, device=x.device)


@torch.library.custom_op("lwc::qlinear", mutates_args=())
def qlinear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    multiplier: torch.Tensor,
    input_zero_point: int,
    residual: torch.Tensor | None,
    residual_multiplier: float,
    residual_zero_point: int,
    activation: str,
    inverse_scale: float,
    minimum: float | None,
    maximum: float | None,
    zero_point: int | None,
) -> torch.Tensor:
    """requantize((x - input_zero_point) weight^T + bias), x (..., K) to (..., N).

    x: uint8 or int8; weight: int8 (N, K); bias: int32 (N,); multiplier: float32 (N,).
    """
    sums = functional.linear(x.double() - input_zero_point, weight.double(), bias.double())
    return requantize(
        sums,
        multiplier,
        residual,
        residual_multiplier,
        residual_zero_point,
        activation,
        inverse_scale,
        minimum,
        maximum,
        zero_point,
        x.dtype,
    ).contiguous()


@qlinear.register_fake
def _qlinear_shape(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, multiplier: torch.Tensor, *rest: Any
) -> torch.Tensor:
    return _empty(x, (*x.shape[:-1], weight.shape[0]), multiplier, rest)


@torch.library.custom_op("lwc::qmean", mutates_args=())
def qmean(
    x: torch.Tensor,
    multiplier: torch.Tensor,
    axes: Sequence[int],
    keepdim: bool,
    input_zero_point: int,
    minimum: float | None,
    maximum: float | None,
    zero_point: int | None,
) -> torch.Tensor:
    """requantize(sum of x - input_zero_point over `axes`); the division is in `multiplier` (1,)."""
    sums = (x.double() - input_zero_point).sum(tuple(axes), keepdim)
    return requantize(
        sums, multiplier, None, 1.0, 0, "identity", 1.0, minimum, maximum, zero_point, x.dtype
    ).contiguous()


@qmean.register_fake
def _qmean_shape(
    x: torch.Tensor, multiplier: torch.Tensor, axes: Sequence[int], keepdim: bool, *rest: Any
) -> torch.Tensor:
    return _empty(x, x.sum(tuple(axes), keepdim).shape, multiplier, rest)


@torch.library.custom_op("lwc::rescale", mutates_args=())
def rescale(
    x: torch.Tensor,
    multiplier: torch.Tensor,
    input_zero_point: int,
    residual: torch.Tensor | None,
    residual_multiplier: float,
    residual_zero_point: int,
    activation: str,
    inverse_scale: float,
    minimum: float | None,
    maximum: float | None,
    zero_point: int | None,
) -> torch.Tensor:
    """requantize(x - input_zero_point), element by element: another scale, a sum, an activation; multiplier: (1,)."""
    return requantize(
        x.double() - input_zero_point,
        multiplier,
        residual,
        residual_multiplier,
        residual_zero_point,
        activation,
        inverse_scale,
        minimum,
        maximum,
        zero_point,
        x.dtype,
    ).contiguous()


@rescale.register_fake
def _rescale_shape(x: torch.Tensor, multiplier: torch.Tensor, *rest: Any) -> torch.Tensor:
    return _empty(x, x.shape, multiplier, rest)


@dataclass(frozen=True)
class QuantizedConvView(OperatorView):
    """The operands of a node that calls `lwc::qconv2d`, by name."""

    x: fx.Node
    weight: fx.Node
    bias: fx.Node
    multiplier: fx.Node
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    input_zero_point: int
    residual: fx.Node | None
    residual_multiplier: float
    residual_zero_point: int
    activation: str
    inverse_scale: float
    minimum: float | None
    maximum: float | None
    zero_point: int | None


@dataclass(frozen=True)
class QuantizedLinearView(OperatorView):
    """The operands of a node that calls `lwc::qlinear`, by name."""

    x: fx.Node
    weight: fx.Node
    bias: fx.Node
    multiplier: fx.Node
    input_zero_point: int
    residual: fx.Node | None
    residual_multiplier: float
    residual_zero_point: int
    activation: str
    inverse_scale: float
    minimum: float | None
    maximum: float | None
    zero_point: int | None


@dataclass(frozen=True)
class QuantizedMeanView(OperatorView):
    """The operands of a node that calls `lwc::qmean`, by name."""

    x: fx.Node
    multiplier: fx.Node
    axes: tuple[int, ...]
    keepdim: bool
    input_zero_point: int
    minimum: float | None
    maximum: float | None
    zero_point: int | None


@dataclass(frozen=True)
class RescaleView(OperatorView):
    """The operands of a node that calls `lwc::rescale`, by name."""

    x: fx.Node
    multiplier: fx.Node
    input_zero_point: int
    residual: fx.Node | None
    residual_multiplier: float
    residual_zero_point: int
    activation: str
    inverse_scale: float
    minimum: float | None
    maximum: float | None
    zero_point: int | None
