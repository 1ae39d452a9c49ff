"""A layer's weight that PyTorch quantized: the integers around 0 and the scale of each output channel."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from lwc.graph import aten, constant
from lwc.ops.quantize import DTYPES
from lwc.ops.view import named_arguments

_LAYERS = (
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.convolution.default,
    aten.linear.default,
    torch.ops.lwc.conv2d.default,
    torch.ops.lwc.linear.default,
)


@dataclass(frozen=True)
class IntegerWeight:
    """`integers`: int8, output channels first; `scales`: float32, one for each of them."""

    integers: torch.Tensor
    scales: torch.Tensor


def integer_weight(module: fx.GraphModule, node: fx.Node) -> IntegerWeight | None:
    """What `node`, a dequantization by tensor or by channel, reads; None where no layer reads it as its weight.

    None, too, where that is no constant, or not 8 bits around its zero points by output channel.
    """
    values = named_arguments(node)
    integers = constant(module, values["input"])
    if integers is None or integers.dtype not in DTYPES.values() or values.get("axis", 0) != 0:
        return None
    if integers.dim() < 2 or not all(_is_weight_of(user, node) for user in node.users):
        return None
    scales, zero_points = (_by_channel(module, values, name) for name in ("scale", "zero_point"))
    if {scales.numel(), zero_points.numel()} - {1, len(integers)}:
        return None
    centred = integers.int() - zero_points.int().reshape(-1, *[1] * (integers.dim() - 1))
    narrow, scales = centred.to(torch.int8), scales.float().expand(len(integers))
    usable = bool(((scales > 0) & scales.isfinite()).all()) and torch.equal(narrow.int(), centred)
    return IntegerWeight(narrow, scales) if usable else None


def _by_channel(module: fx.GraphModule, values: dict[str, Any], name: str) -> torch.Tensor:
    """The scales or the zero points, one or as many as channels; those have names in the plural."""
    operand = values[name] if name in values else values[f"{name}s"]
    value = constant(module, operand)
    if value is None:
        value = torch.tensor(operand or 0)
    return value.reshape(-1)


def _is_weight_of(layer: fx.Node, node: fx.Node) -> bool:
    if layer.target not in _LAYERS:
        return False
    values = named_arguments(layer)
    operands = [name for name, value in values.items() if value is node]
    return operands == ["weight"] and not values.get("transposed")
