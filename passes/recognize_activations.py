"""An activation that is spelled out in parts becomes ATen's own operator.

Given:   y = relu6(x + 3) / 6
Result:  y = hardsigmoid(x)

Given:   y = x * hardsigmoid(x)    y = x * relu6(x + 3) / 6
Result:  y = hardswish(x)

Given:   y = x * sigmoid(x)
Result:  y = silu(x)
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import fx

from lwc.graph import aten
from lwc.passes.fuse_activation import CLAMPS, clamp_bounds
from lwc.passes.recognize_clamps import constant_last, number
from lwc.pipeline import Pass
from lwc.trace import Program

# What times its own operand is another activation.
_GATES: dict[Any, Any] = {
    aten.sigmoid.default: aten.silu.default,
    aten.hardsigmoid.default: aten.hardswish.default,
}


@dataclass(frozen=True)
class SpelledOut:
    """The last of the parts in which `target(x)` is computed."""

    node: fx.Node
    target: Any
    x: fx.Node


@dataclass(frozen=True)
class RecognizeActivations(Pass[SpelledOut]):
    """Hardsigmoid, hardswish and SiLU in parts become operators."""

    name: ClassVar[str] = "recognize-activations"

    def match(self, program: Program, node: fx.Node) -> SpelledOut | None:
        """The last of an activation's parts."""
        return _hard(program.module, node) or _gate(node)

    def refuse(self, program: Program, match: SpelledOut) -> str | None:
        """The operator has to give what the parts give."""
        value, x = match.node.meta["val"], match.x.meta["val"]
        if not x.is_floating_point():
            return "its operand is not of floating point"
        if (value.dtype, value.shape) != (x.dtype, x.shape):
            return "its constants change the shape or the dtype"
        return None

    def rewrite(self, program: Program, match: SpelledOut) -> None:
        """The parts stay for other users."""
        with program.module.graph.inserting_before(match.node):
            whole = program.module.graph.call_function(match.target, (match.x,))
        whole.meta = dict(match.node.meta)
        match.node.replace_all_uses_with(whole)
        program.module.graph.erase_node(match.node)


def _hard(module: fx.GraphModule, node: fx.Node) -> SpelledOut | None:
    """relu6(x + 3) / 6, or x times that."""
    numerator = _numerator(module, node)
    x = _ramp(module, numerator)
    if x is not None:
        return SpelledOut(node, aten.hardsigmoid.default, x)
    for one, other in _factors(numerator):
        if _ramp(module, one) is other:
            return SpelledOut(node, aten.hardswish.default, other)
    return None


def _gate(node: fx.Node) -> SpelledOut | None:
    """x times a sigmoid of x."""
    for one, other in _factors(node):
        if one.target in _GATES and one.args[0] is other:
            return SpelledOut(node, _GATES[one.target], other)
    return None


def _numerator(module: fx.GraphModule, node: fx.Node) -> Any:
    """y, where `node` is y / 6 or y * (1 / 6)."""
    if node.target is aten.div.Tensor:
        return node.args[0] if number(module, node.args[1]) == 6 else None
    if node.target is not aten.mul.Tensor:
        return None
    y, factor = constant_last(module, *node.args)
    return y if number(module, factor) == 1 / 6 else None


def _ramp(module: fx.GraphModule, node: Any) -> fx.Node | None:
    """x, where `node` is relu6(x + 3)."""
    if not isinstance(node, fx.Node) or node.target not in CLAMPS or clamp_bounds(node) != (0, 6):
        return None
    total = node.args[0]
    if not isinstance(total, fx.Node) or total.target is not aten.add.Tensor or total.kwargs:
        return None
    x, shift = constant_last(module, *total.args)
    return x if isinstance(x, fx.Node) and number(module, shift) == 3 else None


def _factors(node: Any) -> tuple[tuple[fx.Node, fx.Node], ...]:
    """The factors of a product of two, in both orders."""
    if not isinstance(node, fx.Node) or node.target is not aten.mul.Tensor:
        return ()
    one, other = node.args
    if not isinstance(one, fx.Node) or not isinstance(other, fx.Node):
        return ()
    return (one, other), (other, one)
