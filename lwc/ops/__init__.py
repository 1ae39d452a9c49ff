"""The lwc operator vocabulary; importing it registers the operators with PyTorch."""

from lwc.ops.attention import AttentionView, Heads, attention
from lwc.ops.conv2d import ConvView, conv2d
from lwc.ops.linear import LinearView, linear
from lwc.ops.separable_conv2d import SeparableView, separable_conv2d

__all__ = [
    "AttentionView",
    "ConvView",
    "Heads",
    "LinearView",
    "SeparableView",
    "attention",
    "conv2d",
    "linear",
    "separable_conv2d",
]
