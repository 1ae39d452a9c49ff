"""Layers between dequantization and quantization become layers on integers.

Given:   y = quantize(op(dequantize(x), dequantize(W), b, residual r), sy, zy)      op = conv2d, linear or mean
Result:  y = qop(x, W, round(b / (sx sw)), multiplier sx sw / sy, residual r, zy)

With x = sx (qx - zx) and W = sw qw for each output channel, the sum of products is sx sw times a sum of integers. A
clamp becomes the bounds of the result. Where something needs the result as float32, the multiplier is sx sw, and the
result float32; so it is before an activation, which is computed in float32 on the accumulator.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, aten, constant, shape_of
from lwc.ops import (
    ConvView,
    DequantizeView,
    LinearView,
    QuantizeChannelsView,
    QuantizedConvView,
    QuantizedLinearView,
    QuantizedMeanView,
    QuantizeView,
)
from lwc.ops.quantize import DTYPES
from lwc.ops.quantize_channels import STEPS, middle
from lwc.ops.requantize import residual_multiplier, single
from lwc.ops.view import named_arguments
from lwc.pipeline import Pass
from lwc.trace import Program

_CONV2D, _LINEAR, _MEAN = (
    torch.ops.lwc.conv2d.default,
    torch.ops.lwc.linear.default,
    aten.mean.dim,
)
_QUANTIZE, _DEQUANTIZE = torch.ops.lwc.quantize.default, torch.ops.lwc.dequantize.default
_QUANTIZE_CHANNELS = torch.ops.lwc.quantize_channels.default
_WEIGHT = torch.ops.lwc.dequantize_weight.default
_TO_NHWC, _TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
# A bias in units of a product: room for the sum in 32 bits.
_LARGEST_BIAS = 2.0**28


@dataclass(frozen=True)
class Integers:
    """An integer tensor: its node, and the scale and the zero point that make real numbers of it."""

    node: fx.Node
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Output:
    """What reads a layer's result: all of `readers` quantize it in one way, or it is float32 and there are none.

    `view` has one scale, `channels` one for each channel; at most one of them is there.
    """

    view: QuantizeView | None
    readers: tuple[fx.Node, ...]
    channels: QuantizeChannelsView | None = None


@dataclass(frozen=True)
class Epilogue:
    """The operands from `residual` on of an integer layer, and the scale that its multiplier has to divide by."""

    divisor: float | torch.Tensor
    residual: fx.Node | None
    residual_multiplier: float
    residual_zero_point: int
    activation: str
    inverse_scale: float
    minimum: float | None
    maximum: float | None
    zero_point: int | None

    @property
    def operands(self) -> dict[str, Any]:
        """By the names of the operators' operands."""
        return {name: value for name, value in vars(self).items() if name != "divisor"}


@dataclass(frozen=True)
class LowerInt8(Pass[fx.Node]):
    """Convolutions, linear layers and means between dequantization and quantization compute on integers."""

    name: ClassVar[str] = "lower-int8"
    introduces: ClassVar[tuple[str, ...]] = (
        "lwc.qconv2d.default",
        "lwc.qlinear.default",
        "lwc.qmean.default",
    )

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A layer whose input was an integer."""
        if node.target not in (_CONV2D, _LINEAR, _MEAN):
            return None
        operands = named_arguments(node)
        if node.args[0].target is not _DEQUANTIZE:  # type: ignore[union-attr]
            return None
        return node if node.target is _MEAN or operands["weight"].target is _WEIGHT else None

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the module's docstring."""
        graph, output = program.module.graph, output_of(match)
        with graph.inserting_before(match):
            lowered = _LOWERINGS[match.target](program.module, match, output)
        if not output.readers:
            match.replace_all_uses_with(lowered)
            return
        for reader in output.readers:
            reader.replace_all_uses_with(lowered)
            graph.erase_node(reader)


def output_of(node: fx.Node) -> Output:
    """What reads the result of `node`."""
    readers = tuple(node.users)
    by_channel = all(reader.target is _QUANTIZE_CHANNELS for reader in readers)
    if by_channel and node.target is _LINEAR and LinearView.of(node).is_plain:
        channels = {QuantizeChannelsView.of(reader) for reader in readers}
        return Output(None, readers, channels.pop()) if len(channels) == 1 else Output(None, ())
    if any(reader.target is not _QUANTIZE for reader in readers):
        return Output(None, ())
    views = {QuantizeView.of(reader) for reader in readers}
    return Output(views.pop(), readers) if len(views) == 1 else Output(None, ())


def integers_of(module: fx.GraphModule, node: fx.Node) -> Integers:
    """What the dequantization `node` reads."""
    view = DequantizeView.of(node)
    return Integers(view.x, float(_tensor(module, view.scale)), view.zero_point)


def _tensor(module: fx.GraphModule, node: Any) -> torch.Tensor:
    value = constant(module, node)
    assert value is not None
    return value


def _conv2d(module: fx.GraphModule, node: fx.Node, output: Output) -> fx.Node:
    graph, view = module.graph, ConvView.of(node)
    x = integers_of(module, view.x)
    source = x.node
    if view.input_layout == "NCHW":
        source = graph.call_function(aten.permute.default, (source, _TO_NHWC))
    how = _epilogue(module, view, output)
    if how.residual is not None and view.output_layout == "NCHW":
        turned = graph.call_function(aten.permute.default, (how.residual, _TO_NHWC))
        how = replace(how, residual=turned)
    operands = QuantizedConvView(
        source,
        *_weights(module, node.name, view, x.scale, how.divisor),
        view.stride,
        view.padding,
        view.dilation,
        view.groups,
        x.zero_point,
        **how.operands,
    )
    y = graph.call_function(torch.ops.lwc.qconv2d.default, operands.arguments)
    y.meta |= origin(node)
    return y if view.output_layout == "NHWC" else graph.call_function(aten.permute.default, (y, _TO_NCHW))


def _linear(module: fx.GraphModule, node: fx.Node, output: Output) -> fx.Node:
    view = LinearView.of(node)
    x = integers_of(module, view.x)
    how = _epilogue(module, view, output) if output.channels is None else _by_channel(module, output.channels)
    weights = _weights(module, node.name, view, x.scale, how.divisor)
    operands = QuantizedLinearView(x.node, *weights, x.zero_point, **how.operands)
    y = module.graph.call_function(torch.ops.lwc.qlinear.default, operands.arguments)
    y.meta |= origin(node)
    return y


def _mean(module: fx.GraphModule, node: fx.Node, output: Output) -> fx.Node:
    operands = named_arguments(node)
    x = integers_of(module, operands["self"])
    shape = shape_of(operands["self"])
    axes = sorted(axis % len(shape) for axis in operands["dim"])
    count = int(torch.tensor([shape[axis] for axis in axes]).prod())
    scale = 1.0 if output.view is None else 1 / output.view.inverse_scale
    minimum, maximum, zero_point = bounds_of(None, None, output)
    multiplier = add_constant(module, f"{node.name}_multiplier", torch.tensor([x.scale / count / scale]))
    view = QuantizedMeanView(
        x.node, multiplier, tuple(axes), operands["keepdim"], x.zero_point, minimum, maximum, zero_point
    )
    y = module.graph.call_function(torch.ops.lwc.qmean.default, view.arguments)
    y.meta |= origin(node)
    return y


_LOWERINGS: dict[Any, Any] = {_CONV2D: _conv2d, _LINEAR: _linear, _MEAN: _mean}


def _weights(
    module: fx.GraphModule,
    name: str,
    view: ConvView | LinearView,
    input_scale: float,
    divisor: float | torch.Tensor,
) -> tuple[fx.Node, fx.Node, fx.Node]:
    """The weight (int8), the bias (int32) and the multiplier (float32), one for each output channel."""
    weight, scale = (_tensor(module, operand) for operand in view.weight.args)
    bias = torch.zeros(len(weight)) if view.bias is None else _tensor(module, view.bias)
    fine = scale.double()
    # A channel of small weights: its bias would not fit, so its weights get a coarser scale.
    coarse = torch.maximum(fine, bias.double().abs() / (input_scale * _LARGEST_BIAS))
    shape = (-1, *[1] * (weight.dim() - 1))
    weight = (weight.double() * (fine / coarse).reshape(shape)).round().to(torch.int8)
    product = coarse * input_scale
    integers = (bias.double() / product).round().to(torch.int32)
    values = {"weight": weight, "bias": integers, "multiplier": (product / divisor).float()}
    made = [add_constant(module, f"{name}_{what}", value) for what, value in values.items()]
    return made[0], made[1], made[2]


def _by_channel(module: fx.GraphModule, view: QuantizeChannelsView) -> Epilogue:
    """That of a plain layer whose channels have scales of their own."""
    scales = 1 / _tensor(module, view.inverse_scale).double()
    zero_point = middle(DTYPES[view.dtype])
    return Epilogue(scales, None, 1.0, 0, "identity", 1.0, -float(STEPS), float(STEPS), zero_point)


def _epilogue(module: fx.GraphModule, view: ConvView | LinearView, output: Output) -> Epilogue:
    inverse = 1.0 if output.view is None else output.view.inverse_scale
    residual, scale, zero_point = view.residual, 1.0, 0
    if residual is not None and residual.target is _DEQUANTIZE:
        integers = integers_of(module, residual)
        residual, scale, zero_point = integers.node, integers.scale, integers.zero_point
    # In real numbers: before an activation, and beside a residual that is one.
    real = view.activation != "identity" or (residual is not None and residual is view.residual)
    after = inverse if real else 1.0
    divisor = 1.0 if real else 1 / inverse
    minimum, maximum, result = bounds_of(view.minimum, view.maximum, output)
    return Epilogue(
        divisor,
        residual,
        1.0 if residual is None else residual_multiplier(scale / divisor),
        zero_point,
        view.activation,
        single(after),
        minimum,
        maximum,
        result,
    )


def bounds_of(
    minimum: float | None, maximum: float | None, output: Output
) -> tuple[float | None, float | None, int | None]:
    """The bounds of the result before its zero point is added, and the zero point; of a float32 as they are."""
    if output.view is None:
        return minimum, maximum, None
    view = output.view
    limits = torch.iinfo(DTYPES[view.dtype])
    low, high = (float(limit - view.zero_point) for limit in (limits.min, limits.max))
    if minimum is not None:
        low = min(high, max(low, float(round(minimum * view.inverse_scale))))
    if maximum is not None:
        high = max(low, min(high, float(round(maximum * view.inverse_scale))))
    return low, high, view.zero_point


def origin(node: fx.Node) -> dict[str, Any]:
    """What says of which layer of the model `node` is."""
    return {key: node.meta[key] for key in ("nn_module_stack", "stack_trace") if key in node.meta}
