"""ATen's convolution and linear layer as lwc's, which have room for padding, layout and activation.

Given:   y = aten.conv2d(x, W, b, stride, padding, dilation, groups)
Result:  y = lwc.conv2d(x, W, b, no residual, stride, (p0, p0, p1, p1), dilation, groups, identity, NCHW -> NCHW)

Given:   y = aten.linear(x, W, b)
Result:  y = lwc.linear(x, W, b, no residual, identity)
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import aten, constant, is_weight, shape_of
from lwc.ops.view import named_arguments
from lwc.pipeline import Pass
from lwc.trace import Program

_RAISED = (aten.conv2d.default, aten.conv2d.padding, aten.convolution.default, aten.linear.default)


@dataclass(frozen=True)
class RaiseOperators(Pass[fx.Node]):
    """Convolutions and linear layers with constant weights become lwc's operators."""

    name: ClassVar[str] = "raise-operators"
    introduces: ClassVar[tuple[str, ...]] = ("lwc.conv2d.default", "lwc.linear.default")

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """ATen's convolution or linear layer."""
        return node if node.target in _RAISED else None

    def refuse(self, program: Program, match: fx.Node) -> str | None:
        """lwc has two-dimensional convolutions of floating point with constant weights."""
        return _refuse(program.module, match, named_arguments(match))

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the module's docstring."""
        graph, values = program.module.graph, named_arguments(match)
        linear = match.target is aten.linear.default
        target = torch.ops.lwc.linear.default if linear else torch.ops.lwc.conv2d.default
        arguments = [values["input"], values["weight"], values["bias"], None]
        arguments += ["identity", None, None] if linear else _convolution_arguments(values)
        with graph.inserting_before(match):
            raised = graph.call_function(target, tuple(arguments))
        raised.meta = dict(match.meta)
        match.replace_all_uses_with(raised)
        graph.erase_node(match)


def _refuse(module: fx.GraphModule, node: fx.Node, values: dict[str, Any]) -> str | None:
    if node.meta["val"].dtype not in (torch.float32, torch.float64):
        return f"its dtype is {node.meta['val'].dtype}"
    if not is_weight(module, values["weight"]):
        return "its weight is not a constant"
    if values["bias"] is not None and constant(module, values["bias"]) is None:
        return "its bias is not a constant"
    if node.target is aten.linear.default:
        return None
    if values.get("transposed"):
        return "it is transposed"
    if len(shape_of(node)) != 4:
        return "its image has no batch axis, or is not two-dimensional"
    return None


def _convolution_arguments(values: dict[str, Any]) -> list[Any]:
    stride, dilation = _pair(values["stride"]), _pair(values["dilation"])
    padding = _padding(values["padding"], shape_of(values["weight"])[2:], dilation)
    return [stride, padding, dilation, values["groups"], "identity", None, None, "NCHW", "NCHW"]


def _pair(value: Any) -> list[int]:
    items = [value, value] if isinstance(value, int) else [int(item) for item in value]
    return items * 2 if len(items) == 1 else items


def _padding(value: Any, kernel: tuple[int, ...], dilation: list[int]) -> list[int]:
    """(top, bottom, left, right); "same" pads the odd pixel at the end, as PyTorch does."""
    if value == "valid":
        return [0, 0, 0, 0]
    if value == "same":
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [reach[0] // 2, reach[0] - reach[0] // 2, reach[1] // 2, reach[1] - reach[1] // 2]
    rows, columns = _pair(value)
    return [rows, rows, columns, columns]
