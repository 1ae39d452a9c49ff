"""An activation joins the convolution, linear layer or attention that alone feeds it.

Given:   y = act(op(x, W, b, r))      op = conv2d, linear or attention, reshapes in between allowed
Result:  y = op(x, W, b, r, activation=act)
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import aten, has_other_users, through_reshapes
from lwc.ops import AttentionView, ConvView, LinearView
from lwc.ops.view import named_arguments
from lwc.pipeline import Pass
from lwc.trace import Program

_VIEWS: dict[Any, Any] = {
    torch.ops.lwc.conv2d.default: ConvView,
    torch.ops.lwc.linear.default: LinearView,
    torch.ops.lwc.attention.default: AttentionView,
}
CURVES: dict[Any, str] = {
    aten.silu.default: "silu",
    aten.hardswish.default: "hardswish",
    aten.hardsigmoid.default: "hardsigmoid",
    aten.sigmoid.default: "sigmoid",
    aten.gelu.default: "gelu",
    aten.tanh.default: "tanh",
}
# The names of their bounds.
CLAMPS: dict[Any, tuple[str, str]] = {
    aten.relu.default: ("", ""),
    aten.relu6.default: ("", ""),
    aten.hardtanh.default: ("min_val", "max_val"),
    aten.clamp.default: ("min", "max"),
    aten.clamp_min.default: ("min", ""),
    aten.clamp_max.default: ("", "max"),
}


@dataclass(frozen=True)
class Fusion:
    """An activation, and the layer whose output it reads."""

    producer: fx.Node
    node: fx.Node

    @property
    def view(self) -> Any:
        """The layer's arguments."""
        return _VIEWS[self.producer.target].of(self.producer)


@dataclass(frozen=True)
class FuseActivation(Pass[Fusion]):
    """ReLU, ReLU6, clamps, SiLU, hardswish, sigmoids and GELU join the layer before them."""

    name: ClassVar[str] = "fuse-activation"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)

    def match(self, program: Program, node: fx.Node) -> Fusion | None:
        """An activation that reads a convolution, a linear layer or an attention."""
        known = node.target in CURVES or node.target in CLAMPS
        producer = through_reshapes(node.args[0]) if known else None
        if not isinstance(producer, fx.Node) or producer.target not in _VIEWS:
            return None
        return Fusion(producer, node)

    def refuse(self, program: Program, match: Fusion) -> str | None:
        """The layer computes one curve, then one clamp, for this reader alone."""
        return _refuse(match.node, match.producer, match.view)

    def rewrite(self, program: Program, match: Fusion) -> None:
        """See the module's docstring."""
        minimum, maximum = clamp_bounds(match.node)
        curve = CURVES.get(match.node.target, match.view.activation)
        fused = replace(match.view, activation=curve, minimum=minimum, maximum=maximum)
        match.producer.args = fused.arguments
        match.node.replace_all_uses_with(match.node.args[0])  # type: ignore[arg-type]
        program.module.graph.erase_node(match.node)


def clamp_bounds(node: fx.Node) -> tuple[float | None, float | None]:
    """The clamp that `node` applies, (None, None) for a curve."""
    values = named_arguments(node)
    if node.target is aten.relu.default:
        return 0.0, None
    if node.target is aten.relu6.default:
        return 0.0, 6.0
    low, high = CLAMPS.get(node.target, ("", ""))
    return _number(values.get(low)), _number(values.get(high))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _refuse(node: fx.Node, producer: fx.Node, view: Any) -> str | None:
    if has_other_users(producer, node):
        return "the layer before it has another user"
    if (view.minimum, view.maximum) != (None, None):
        return "the layer before it clamps already"
    if node.target in CURVES and view.activation != "identity":
        return "the layer before it has an activation already"
    minimum, maximum = clamp_bounds(node)
    if math.isnan(minimum or 0) or math.isnan(maximum or 0):
        return "a bound is not a number"
    if minimum is not None and maximum is not None and minimum > maximum:
        return "its bounds are reversed"
    if node.target is aten.gelu.default and named_arguments(node)["approximate"] != "none":
        return "its GELU is the tanh approximation"
    return None
