"""lwc's operators and matrix products as calls of our kernel templates, weights packed on the way."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx

from lwc.lower.choose import Choose
from lwc.lower.convert_attention import convert_attention, convert_quantized_attention
from lwc.lower.convert_norm import convert_layer_norm
from lwc.lower.convert_quantized import (
    convert_dequantize,
    convert_dequantize_channels,
    convert_quantize,
    convert_quantize_channels,
    convert_quantized_conv2d,
    convert_quantized_linear,
    convert_quantized_mean,
    convert_recenter,
    convert_rescale,
)
from lwc.lower.convert_separable import convert_separable
from lwc.lower.emitter import Array, Emitter, reshape, shape
from lwc.lower.gather import Gather, gather_before
from lwc.lower.kernel import KernelTable
from lwc.ops import ConvView, LinearView
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.epilogue import Epilogue
from lwc.tvm_api import relax

# Gives the Relax expression of a node, for TVM's importer.
Converter = Callable[[fx.Node, Any], Any]


def converters(
    constants: dict[str, torch.Tensor],
    kernels: KernelTable,
    originals: dict[str, fx.Node],
    choose: Choose,
) -> dict[str, Converter]:
    """The converters of what our templates compute.

    `constants` holds the tensors behind the graph's placeholders, `originals` the program's own nodes by the names that
    they have in the graph; `choose` decides which kernels are taken.
    """

    def bound(convert: Callable[[Emitter, fx.Node, Any], Any]) -> Converter:
        return lambda node, importer: convert(
            Emitter(constants, kernels, choose, originals.get(node.name)), node, importer
        )

    # TVM's importer tells operators apart by these names alone, without the namespace.
    return {
        "conv2d.default": _if_own("conv2d.default", bound(_conv2d)),
        "linear.default": _if_own("linear.default", bound(_linear)),
        "separable_conv2d.default": bound(convert_separable),
        "quantize.default": convert_quantize,
        "dequantize.default": bound(convert_dequantize),
        "quantize_channels.default": bound(convert_quantize_channels),
        "dequantize_channels.default": bound(convert_dequantize_channels),
        "recenter.default": convert_recenter,
        "qconv2d.default": bound(convert_quantized_conv2d),
        "qlinear.default": bound(convert_quantized_linear),
        "qmean.default": bound(convert_quantized_mean),
        "rescale.default": bound(convert_rescale),
        "attention.default": bound(convert_attention),
        "qattention.default": bound(convert_quantized_attention),
        "layer_norm.default": bound(convert_layer_norm),
        "matmul.default": bound(_matmul),
        "bmm.default": bound(_matmul),
        "reshape.default": _reshape,
        "view.default": _reshape,
        "_unsafe_view.default": _reshape,
    }


def _conv2d(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    view, builder = ConvView.of(node), importer.block_builder
    x, residual = importer.env[view.x], _residual(view, importer)
    weight = emitter.array(view.weight)
    layout = view.input_layout
    if layout == "NCHW" and (view.groups > 1 or weight.shape[2:] == (1, 1)):
        # Only the direct template reads NCHW.
        x, layout = builder.emit(relax.op.permute_dims(x, (0, 2, 3, 1))), "NHWC"
    if residual is not None and view.output_layout == "NCHW":
        residual = builder.emit(relax.op.permute_dims(residual, (0, 2, 3, 1)))
    y = _convolve(emitter, importer, view, x, layout, weight, residual)
    return y if view.output_layout == "NHWC" else builder.emit(relax.op.permute_dims(y, (0, 3, 1, 2)))


def _convolve(
    emitter: Emitter, importer: Any, view: ConvView, x: Any, layout: str, weight: Array, residual: Any
) -> Any:
    """A call of the template that fits: depthwise, pointwise, Winograd's, or direct; NHWC out."""
    builder = importer.block_builder
    outputs, epilogue = len(weight), _epilogue(view)
    bias = emitter.bias(view.bias, outputs)
    height, width = weight.shape[2:]
    templates, target = emitter.templates, emitter.target
    window = Window((height, width), view.stride, view.padding, view.dilation)
    if layout == "NHWC" and view.groups == outputs == shape(x)[3]:
        depthwise = templates.depthwise
        alone = emitter.chosen(depthwise.plan(shape(x), window, epilogue, target, view.kernel))
        return emitter.call(builder, alone, depthwise.compute, x, depthwise.pack(weight), bias, residual)
    pointwise = window.kernel == window.stride == (1, 1) and window.padding == (0, 0, 0, 0)
    if layout == "NHWC" and view.groups == 1 and pointwise:
        gather = _gather(emitter, view.x) if view.input_layout == "NHWC" else None
        return _gemm(emitter, importer, x, weight[:, :, 0, 0], bias, residual, epilogue, gather)
    winograd = templates.winograd if layout == "NHWC" and view.groups == 1 else None
    if winograd is not None and winograd.suits(shape(x), outputs, window, target):
        fewer = emitter.chosen(winograd.plan(shape(x), outputs, window, epilogue, target))
        operands = (x, winograd.pack(fewer, weight))
        return emitter.call_in_columns(builder, fewer, winograd.compute, operands, bias, residual)
    conv2d = templates.conv2d
    planned = conv2d.plan(shape(x), outputs, view.groups, window, layout, epilogue, target)
    kernel = emitter.chosen(planned)
    operands = (x, conv2d.pack(kernel, weight))
    return emitter.call_in_columns(builder, kernel, conv2d.compute, operands, bias, residual)


def _linear(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    view = LinearView.of(node)
    weight = emitter.array(view.weight)
    bias = emitter.bias(view.bias, len(weight))
    x, residual = importer.env[view.x], _residual(view, importer)
    gather = _gather(emitter, view.x)
    return _gemm(emitter, importer, x, weight, bias, residual, _epilogue(view), gather)


def _gather(emitter: Emitter, x: fx.Node) -> Gather | None:
    """Where to read the rows of `x`: a GPU's threads read each by itself in any case, a processor goes along."""
    return None if emitter.target.gpu is None else gather_before(x)


def _gemm(
    emitter: Emitter,
    importer: Any,
    x: Any,
    weight: Array,
    bias: Array,
    residual: Any,
    epilogue: Epilogue,
    gather: Gather | None,
) -> Any:
    """x (..., K), or where `gather` finds it, times weight (N, K) transposed, over the flattened leading axes."""
    builder, gemm = importer.block_builder, emitter.templates.gemm
    leading, (columns, inner), compute = shape(x)[:-1], weight.shape, gemm.compute
    rows = int(np.prod(leading))
    kernel = emitter.chosen(gemm.plan(rows, inner, columns, epilogue, emitter.target))
    if gather is not None:
        x, compute = importer.env[gather.source], gather.into(compute)
    x = reshape(builder, x, (math.prod(shape(x)[:-1]), inner))
    if residual is not None:
        residual = reshape(builder, residual, (rows, columns))
    operands = (x, gemm.pack(kernel, weight))
    y = emitter.call_in_columns(builder, kernel, compute, operands, bias, residual)
    return reshape(builder, y, (*leading, columns))


def _matmul(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    matmul, builder = emitter.templates.matmul, importer.block_builder
    left, right = (importer.env[argument] for argument in node.args[:2])
    a, b = shape(left), shape(right)
    if min(len(a), len(b)) < 2 or a[:-2] != b[:-2]:
        return builder.emit(relax.op.matmul(left, right))
    batch = int(np.prod(a[:-2]))
    kernel = matmul.plan(batch, a[-2], a[-1], b[-1], emitter.target)
    left = reshape(builder, left, (batch, *a[-2:]))
    right = reshape(builder, right, (batch, *b[-2:]))
    y = emitter.call(builder, kernel, matmul.compute, left, right)
    return reshape(builder, y, (*a[:-1], b[-1]))


def _reshape(node: fx.Node, importer: Any) -> Any:
    extents = tuple(int(extent) for extent in node.meta["val"].shape)
    return reshape(importer.block_builder, importer.env[node.args[0]], extents)


def _if_own(key: str, convert: Converter) -> Converter:
    """`convert` for lwc's operator of this name, TVM's own converter for ATen's."""

    def choose(node: fx.Node, importer: Any) -> Any:
        if node.target.namespace == "lwc":  # type: ignore[union-attr]
            return convert(node, importer)
        return importer.create_convert_map()[key](node)

    return choose


def _epilogue(view: ConvView | LinearView) -> Epilogue:
    return Epilogue(view.activation, view.minimum, view.maximum)


def _residual(view: ConvView | LinearView, importer: Any) -> Any:
    return None if view.residual is None else importer.env[view.residual]
