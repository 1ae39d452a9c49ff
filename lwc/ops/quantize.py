"""`lwc::quantize`, `lwc::dequantize`, `lwc::dequantize_weight` and `lwc::recenter`: real numbers and 8-bit ones."""

from dataclasses import dataclass

import torch
from torch import fx

from lwc.ops.view import OperatorView

DTYPES = {"uint8": torch.uint8, "int8": torch.int8}


@torch.library.custom_op("lwc::quantize", mutates_args=())
def quantize(x: torch.Tensor, inverse_scale: float, zero_point: int, dtype: str) -> torch.Tensor:
    """round(x inverse_scale) + zero_point, rounded half to even, within `dtype` (uint8 or int8)."""
    limits = torch.iinfo(DTYPES[dtype])
    scaled = (x.float() * inverse_scale).clamp(limits.min - zero_point, limits.max - zero_point)
    return (scaled.round() + zero_point).to(DTYPES[dtype])


@quantize.register_fake
def _quantize_shape(x: torch.Tensor, inverse_scale: float, zero_point: int, dtype: str) -> torch.Tensor:
    return torch.empty(x.shape, dtype=DTYPES[dtype], device=x.device)


@torch.library.custom_op("lwc::dequantize", mutates_args=())
def dequantize(x: torch.Tensor, scale: torch.Tensor, zero_point: int) -> torch.Tensor:
    """scale (x - zero_point), of the type of `scale`, which has one element."""
    return (x.int() - zero_point).to(scale.dtype) * scale


@dequantize.register_fake
def _dequantize_shape(x: torch.Tensor, scale: torch.Tensor, zero_point: int) -> torch.Tensor:
    return torch.empty(x.shape, dtype=scale.dtype, device=x.device)


@torch.library.custom_op("lwc::dequantize_weight", mutates_args=())
def dequantize_weight(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Each output channel of `weight` (int8, channels first) times its scale, of the type of `scale`."""
    return weight.to(scale.dtype) * scale.reshape(-1, *[1] * (weight.dim() - 1))


@dequantize_weight.register_fake
def _dequantize_weight_shape(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return torch.empty(weight.shape, dtype=scale.dtype, device=weight.device)


@torch.library.custom_op("lwc::recenter", mutates_args=())
def recenter(x: torch.Tensor, dtype: str) -> torch.Tensor:
    """x (uint8 or int8) as the other of the two, `dtype`: the same steps from the lowest number, never x itself."""
    return (x.int() - torch.iinfo(x.dtype).min + torch.iinfo(DTYPES[dtype]).min).to(DTYPES[dtype])


@recenter.register_fake
def _recenter_shape(x: torch.Tensor, dtype: str) -> torch.Tensor:
    return torch.empty(x.shape, dtype=DTYPES[dtype], device=x.device)


@dataclass(frozen=True)
class QuantizeView(OperatorView):
    """The operands of a node that calls `lwc::quantize`, by name."""

    x: fx.Node
    inverse_scale: float
    zero_point: int
    dtype: str


@dataclass(frozen=True)
class DequantizeView(OperatorView):
    """The operands of a node that calls `lwc::dequantize`, by name."""

    x: fx.Node
    scale: fx.Node
    zero_point: int
