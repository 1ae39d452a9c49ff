"""Which channels hold one constant everywhere, and which: constants carried along a group of channels.

Given:   y = act(conv2d(x, W, b)), W[c] = 0
Result:  y[:, c] = act(b[c]) at every place; NaN stands for a channel that varies
"""

import torch
from torch import fx

from lwc.graph import ELEMENTWISE, aten
from lwc.ops.activation import apply_epilogue
from lwc.passes.channel_groups import ChannelGroup
from lwc.passes.channel_layer import Layer

_VARIES = float("nan")


def channel_values(group: ChannelGroup) -> dict[fx.Node, torch.Tensor]:
    """Each member's constants by channel, NaN where the channel varies or is not finite.

    The group has no obstacle.
    """
    layers = {layer.node: layer for layer in group.writers}
    values: dict[fx.Node, torch.Tensor] = {}
    for node in group.members:
        value = _written(layers[node], values) if node in layers else _carried(node, values)
        values[node] = torch.where(value.isfinite(), value, _VARIES)
    return values


def _written(layer: Layer, values: dict[fx.Node, torch.Tensor]) -> torch.Tensor:
    weight = layer.weight.flatten(1)
    product = torch.full_like(weight[:, 0], _VARIES)
    nothing = layer.zero_rows
    if layer.depthwise:
        x = values[layer.view.x]
        # At the border only a part of the weights meets the constant, unless that is zero too.
        product = product if layer.padded else weight.sum(1) * x
        nothing = nothing | (x == 0)
    product = torch.where(nothing, 0, product)
    total = product if layer.bias is None else product + layer.bias
    result = apply_epilogue(total, None, layer.view.activation, layer.view.minimum, layer.view.maximum)
    return torch.where(total.isnan(), _VARIES, result)


def _carried(node: fx.Node, values: dict[fx.Node, torch.Tensor]) -> torch.Tensor:
    operands = torch.stack([values[operand] for operand in node.all_input_nodes])
    if node.target in ELEMENTWISE:
        arguments = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        result: torch.Tensor = node.target(*arguments[0], **arguments[1])
        # Not every clamp of NaN is NaN.
        result = torch.where(operands.isnan().any(0), _VARIES, result)
        absorbing = (operands == 0).any(0) & (node.target is aten.mul.Tensor)
        return torch.where(absorbing, 0, result)
    if node.target is aten.avg_pool2d.default:
        # It may count the zeros around the image.
        return torch.where(operands[0] == 0, operands[0], _VARIES)
    return operands[0]
