"""The lwc operator vocabulary; importing it registers the operators with PyTorch."""

from lwc.ops.attention import AttentionView, Heads, attention
from lwc.ops.conv2d import ConvView, conv2d
from lwc.ops.linear import LinearView, linear
from lwc.ops.quantize import DequantizeView, QuantizeView, dequantize, dequantize_weight, quantize, recenter
from lwc.ops.quantize_channels import (
    DequantizeChannelsView,
    QuantizeChannelsView,
    dequantize_channels,
    quantize_channels,
)
from lwc.ops.quantized import (
    QuantizedConvView,
    QuantizedLinearView,
    QuantizedMeanView,
    RescaleView,
    qconv2d,
    qlinear,
    qmean,
    rescale,
)
from lwc.ops.quantized_attention import QuantizedAttentionView, qattention
from lwc.ops.separable_conv2d import SeparableView, separable_conv2d

__all__ = [
    "AttentionView",
    "ConvView",
    "DequantizeChannelsView",
    "DequantizeView",
    "Heads",
    "LinearView",
    "QuantizeChannelsView",
    "QuantizeView",
    "QuantizedAttentionView",
    "QuantizedConvView",
    "QuantizedLinearView",
    "QuantizedMeanView",
    "RescaleView",
    "SeparableView",
    "attention",
    "conv2d",
    "dequantize",
    "dequantize_channels",
    "dequantize_weight",
    "linear",
    "qattention",
    "qconv2d",
    "qlinear",
    "qmean",
    "quantize",
    "quantize_channels",
    "recenter",
    "rescale",
    "separable_conv2d",
]
