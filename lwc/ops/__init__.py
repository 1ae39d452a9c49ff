"""The lwc operator vocabulary; importing it registers the operators with PyTorch."""

from lwc.ops.attention import AttentionView, Heads, attention
from lwc.ops.conv2d import ConvView, conv2d
from lwc.ops.linear import LinearView, linear

__all__ = ["AttentionView", "ConvView", "Heads", "LinearView", "attention", "conv2d", "linear"]
