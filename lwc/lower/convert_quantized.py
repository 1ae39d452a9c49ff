"""Integer operators as calls of the integer templates, weights packed and zero points folded on the way."""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx

from lwc.lower.emitter import Emitter, first_columns, reshape, shape
from lwc.ops import (
    DequantizeChannelsView,
    DequantizeView,
    QuantizeChannelsView,
    QuantizedConvView,
    QuantizedLinearView,
    QuantizedMeanView,
    QuantizeView,
    RescaleView,
)
from lwc.ops.quantize import DTYPES
from lwc.ops.quantize_channels import STEPS, middle
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.quantized_gemm import WORD
from lwc.targets.kernels.requantize import Requantize, quantize
from lwc.targets.kernels.tiling import round_up
from lwc.tvm_api import relax, te, tirx


def convert_quantized_conv2d(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """`lwc::qconv2d`: depthwise, pointwise or direct."""
    view, builder, templates = QuantizedConvView.of(node), importer.block_builder, emitter.templates
    x, residual = importer.env[view.x], _residual(view, importer)
    weight = emitter.integers(view.weight)
    window = Window(weight.shape[2:], view.stride, view.padding, view.dilation)
    how = _requantize(view, x)
    bias = _bias(emitter, view, weight)
    if view.groups > 1:
        multiplier = emitter.array(view.multiplier)
        sums = np.abs(bias.astype(np.float64)) + 255.0 * np.abs(weight.astype(np.float64)).sum((1, 2, 3))
        quantized_depthwise = templates.quantized_depthwise
        planned = quantized_depthwise.plan(
            shape(x),
            window,
            str(x.ty.dtype),
            view.input_zero_point,
            how,
            emitter.target,
            residual is not None,
            float((sums * multiplier).max()),
        )
        alone = emitter.chosen(planned)
        by_channel = (quantized_depthwise.in_order(alone, constant) for constant in (bias, multiplier))
        operands = (x, quantized_depthwise.pack(alone, weight), *by_channel, residual)
        return emitter.call(builder, alone, quantized_depthwise.compute, *operands)
    if window.kernel == window.stride == (1, 1) and window.padding == (0, 0, 0, 0):
        return _gemm(emitter, builder, view, x, weight[:, :, 0, 0], bias, residual)
    quantized_conv2d = templates.quantized_conv2d
    kernel = emitter.chosen(
        quantized_conv2d.plan(
            shape(x), len(weight), window, str(x.ty.dtype), view.input_zero_point, how, emitter.target
        )
    )
    packed = quantized_conv2d.pack(kernel, weight)
    if kernel.bordered:
        x = builder.emit_te(partial(quantized_conv2d.with_border, kernel), x, primfunc_name_hint="bordered")
    return _call(emitter, builder, kernel, quantized_conv2d.compute, (x, packed), bias, view, residual)


def convert_quantized_linear(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """`lwc::qlinear`: a matrix product over the flattened leading axes."""
    view = QuantizedLinearView.of(node)
    x, residual = importer.env[view.x], _residual(view, importer)
    weight = emitter.integers(view.weight)
    bias = _bias(emitter, view, weight)
    return _gemm(emitter, importer.block_builder, view, x, weight, bias, residual)


def convert_quantized_mean(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """`lwc::qmean`: a sum over some axes."""
    view, builder = QuantizedMeanView.of(node), importer.block_builder
    x = importer.env[view.x]
    extents = shape(x)
    multiplier = float(emitter.array(view.multiplier)[0])
    how = Requantize(str(x.ty.dtype), view.zero_point, view.minimum, view.maximum)
    count = math.prod(extents[axis] for axis in view.axes)
    kept = [extent for axis, extent in enumerate(extents) if axis not in view.axes]

    def sums(x: Any) -> Any:
        reduced = [te.reduce_axis((0, extents[axis]), name=f"r{axis}") for axis in view.axes]

        def term(*at: Any) -> Any:
            outer, inner = iter(at), iter(reduced)
            place = [next(inner) if axis in view.axes else next(outer) for axis in range(len(extents))]
            return te.sum(x(*place).astype("int32"), axis=reduced)

        total = te.compute(kept, term, name="total")
        offset = tirx.const(count * view.input_zero_point, "int32")
        return te.compute(
            kept,
            lambda *at: how(total(*at) - offset, tirx.const(multiplier, "float32")),
            name="mean",
        )

    y = builder.emit_te(sums, x, primfunc_name_hint="quantized_mean")
    return reshape(builder, y, tuple(int(extent) for extent in node.meta["val"].shape))


def convert_rescale(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """`lwc::rescale`, element by element."""
    view = RescaleView.of(node)
    x, how = importer.env[view.x], _requantize(view, importer.env[view.x])
    multiplier = tirx.const(float(emitter.array(view.multiplier)[0]), "float32")
    zero_point = tirx.const(view.input_zero_point, "int32")

    def scaled(x: Any, *residual: Any) -> Any:
        def element(*at: Any) -> Any:
            return how(x(*at).astype("int32") - zero_point, multiplier, *(y(*at) for y in residual))

        return te.compute(x.shape, element, name="rescale")

    operands = (x,) if view.residual is None else (x, importer.env[view.residual])
    return importer.block_builder.emit_te(scaled, *operands, primfunc_name_hint="rescale")


def convert_quantize(node: fx.Node, importer: Any) -> Any:
    """`lwc::quantize`, element by element."""
    view = QuantizeView.of(node)
    limits = np.iinfo(view.dtype)
    how = Requantize(
        view.dtype,
        view.zero_point,
        float(limits.min - view.zero_point),
        float(limits.max - view.zero_point),
    )
    return importer.block_builder.emit_te(
        lambda x: te.compute(x.shape, lambda *at: quantize(x(*at), view.inverse_scale, how), name="quantize"),
        importer.env[view.x],
        primfunc_name_hint="quantize",
    )


def convert_dequantize(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """`lwc::dequantize`, element by element."""
    view = DequantizeView.of(node)
    scale = tirx.const(float(emitter.array(view.scale)), "float32")
    zero_point = tirx.const(view.zero_point, "int32")

    def real(x: Any) -> Any:
        return te.compute(
            x.shape,
            lambda *at: (x(*at).astype("int32") - zero_point).astype("float32") * scale,
            name="dequantize",
        )

    return importer.block_builder.emit_te(real, importer.env[view.x], primfunc_name_hint="dequantize")


def convert_quantize_channels(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """`lwc::quantize_channels`, element by element."""
    view = QuantizeChannelsView.of(node)
    how = Requantize(view.dtype, middle(DTYPES[view.dtype]), -float(STEPS), float(STEPS))

    def integers(x: Any, inverse: Any) -> Any:
        return te.compute(x.shape, lambda *at: how.store(x(*at) * inverse(at[-1])), name="quantize")

    operands = (importer.env[view.x], relax.const(emitter.array(view.inverse_scale)))
    return importer.block_builder.emit_te(integers, *operands, primfunc_name_hint="quantize_channels")


def convert_dequantize_channels(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """`lwc::dequantize_channels`, element by element."""
    view = DequantizeChannelsView.of(node)
    x = importer.env[view.x]
    zero_point = tirx.const(middle(DTYPES[str(x.ty.dtype)]), "int32")

    def real(x: Any, scale: Any) -> Any:
        return te.compute(
            x.shape,
            lambda *at: (x(*at).astype("int32") - zero_point).astype("float32") * scale(at[-1]),
            name="dequantize",
        )

    operands = (x, relax.const(emitter.array(view.scale)))
    return importer.block_builder.emit_te(real, *operands, primfunc_name_hint="dequantize_channels")


def convert_recenter(node: fx.Node, importer: Any) -> Any:
    """`lwc::recenter`, element by element."""
    operands: Any = node.args
    source, dtype = operands

    def recentered(x: Any) -> Any:
        step = tirx.const(int(np.iinfo(dtype).min) - int(np.iinfo(str(x.dtype)).min), "int32")
        return te.compute(x.shape, lambda *at: (x(*at).astype("int32") + step).astype(dtype), name="recenter")

    return importer.block_builder.emit_te(recentered, importer.env[source], primfunc_name_hint="recenter")


def _gemm(
    emitter: Emitter,
    builder: Any,
    view: QuantizedConvView | QuantizedLinearView,
    x: Any,
    weight: NDArray[np.int8],
    bias: NDArray[np.int32],
    residual: Any,
) -> Any:
    leading, (columns, inner) = shape(x)[:-1], weight.shape
    rows, quantized_gemm = math.prod(leading), emitter.templates.quantized_gemm
    x = reshape(builder, x, (rows, inner))
    if inner % WORD:
        # The weights of what is added are zero.
        x = builder.emit(relax.op.nn.pad(x, [0, 0, 0, round_up(inner, WORD) - inner]))
    how = _requantize(view, x)
    kernel = emitter.chosen(quantized_gemm.plan(rows, round_up(inner, WORD), columns, how, emitter.target))
    if residual is not None:
        residual = reshape(builder, residual, (rows, columns))
    operands = (x, quantized_gemm.pack(kernel, weight))
    y = _call(emitter, builder, kernel, quantized_gemm.compute, operands, bias, view, residual)
    return reshape(builder, y, (*leading, columns))


def _call(
    emitter: Emitter,
    builder: Any,
    kernel: Any,
    compute: Any,
    operands: tuple[Any, ...],
    bias: NDArray[np.int32],
    view: QuantizedConvView | QuantizedLinearView,
    residual: Any,
) -> Any:
    """A call of a kernel whose result may have more columns, to fill vectors, which are then cut off."""
    columns = len(bias)
    more = kernel.stored_columns - columns
    multiplier = np.pad(emitter.array(view.multiplier), (0, more))
    if residual is not None and more:
        widths = [0] * (2 * len(shape(residual)) - 1) + [more]
        residual = builder.emit(relax.op.nn.pad(residual, widths))
    y = emitter.call(builder, kernel, compute, *operands, np.pad(bias, (0, more)), multiplier, residual)
    return first_columns(builder, y, columns)


def _requantize(view: QuantizedConvView | QuantizedLinearView | RescaleView, x: Any) -> Requantize:
    return Requantize(
        str(x.ty.dtype),
        view.zero_point,
        view.minimum,
        view.maximum,
        view.activation,
        view.inverse_scale,
        view.residual_multiplier,
        view.residual_zero_point,
    )


def _bias(
    emitter: Emitter, view: QuantizedConvView | QuantizedLinearView, weight: NDArray[np.int8]
) -> NDArray[np.int32]:
    """The bias with the zero point of x folded in: sum (x - z) w + b = sum x w + (b - z sum w), modulo 2^32."""
    sums = weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    bias: NDArray[np.int64] = emitter.integers(view.bias).astype(np.int64) - view.input_zero_point * sums
    return bias.astype(np.int32)


def _residual(view: QuantizedConvView | QuantizedLinearView, importer: Any) -> Any:
    return None if view.residual is None else importer.env[view.residual]
