"""`lwc::quantize_channels` and `lwc::dequantize_channels`: real numbers and 8-bit ones, a scale for each channel.

The zero point is the middle of the type, 128 of uint8 and 0 of int8; 127 steps lie on each side.
"""

from dataclasses import dataclass

import torch
from torch import fx

from lwc.ops.quantize import DTYPES
from lwc.ops.view import OperatorView

# Symmetric: one step more would have no counterpart.
STEPS = 127


def middle(dtype: torch.dtype) -> int:
    """The zero point of uint8 or int8."""
    return 128 if dtype == torch.uint8 else 0


@torch.library.custom_op("lwc::quantize_channels", mutates_args=())
def quantize_channels(x: torch.Tensor, inverse_scale: torch.Tensor, dtype: str) -> torch.Tensor:
    """round(x inverse_scale) + the middle of `dtype`, rounded half to even; x (..., C), inverse_scale float32 (C,)."""
    kind = DTYPES[dtype]
    scaled = (x.float() * inverse_scale.float()).clamp(-STEPS, STEPS)
    return (scaled.round() + middle(kind)).to(kind)


@quantize_channels.register_fake
def _quantize_channels_shape(x: torch.Tensor, inverse_scale: torch.Tensor, dtype: str) -> torch.Tensor:
    return torch.empty(x.shape, dtype=DTYPES[dtype], device=x.device)


@torch.library.custom_op("lwc::dequantize_channels", mutates_args=())
def dequantize_channels(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """scale (x - the middle of its type), of the type of `scale`; x (..., C), scale (C,)."""
    return (x.int() - middle(x.dtype)).to(scale.dtype) * scale


@dequantize_channels.register_fake
def _dequantize_channels_shape(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return torch.empty(x.shape, dtype=scale.dtype, device=x.device)


@dataclass(frozen=True)
class QuantizeChannelsView(OperatorView):
    """The operands of a node that calls `lwc::quantize_channels`, by name."""

    x: fx.Node
    inverse_scale: fx.Node
    dtype: str


@dataclass(frozen=True)
class DequantizeChannelsView(OperatorView):
    """The operands of a node that calls `lwc::dequantize_channels`, by name."""

    x: fx.Node
    scale: fx.Node
