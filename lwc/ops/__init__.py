"""The lwc operator vocabulary; importing it registers the operators with PyTorch."""

from lwc.ops.attention import AttentionView, Heads, attention
from lwc.ops.conv2d import ConvView, conv2d
from lwc.ops.linear import LinearView, linear
from lwc.ops.quantize import DequantizeView, QuantizeView, dequantize, dequantize_weight, quantize
from lwc.ops.quantized import (
    QuantizedConvView,
    QuantizedLinearView,
    QuantizedMeanView,
    qconv2d,
    qlinear,
    qmean,
)
from lwc.ops.separable_conv2d import SeparableView, separable_conv2d

__all__ = [
    "AttentionView",
    "ConvView",
    "DequantizeView",
    "Heads",
    "LinearView",
    "QuantizeView",
    "QuantizedConvView",
    "QuantizedLinearView",
    "QuantizedMeanView",
    "SeparableView",
    "attention",
    "conv2d",
    "dequantize",
    "dequantize_weight",
    "linear",
    "qconv2d",
    "qlinear",
    "qmean",
    "quantize",
    "separable_conv2d",
]
