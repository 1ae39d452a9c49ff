"""The lwc operator vocabulary; importing it registers the operators with PyTorch."""

from lwc.ops.conv2d import ConvView, conv2d
from lwc.ops.linear import LinearView, linear

__all__ = ["ConvView", "LinearView", "conv2d", "linear"]
