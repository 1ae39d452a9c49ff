"""A clamp in other words becomes ATen's clamp between numbers.

Given:   y = maximum(x, c)    y = minimum(x, d)         y = clamp(x, c, d)    tensors c, d of one value each
Result:  y = clamp(x, c)      y = clamp(x, None, d)     y = clamp(x, c, d)    numbers c, d

Given:   y = clamp_max(x, d)
Result:  y = clamp(x, None, d)

Given:   y = clamp(clamp(x, c), None, d)    or the upper bound first; c <= d
Result:  y = clamp(x, c, d)
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import fx

from lwc.graph import aten, constant
from lwc.ops.view import named_arguments
from lwc.passes.fuse_activation import CLAMPS, clamp_bounds
from lwc.pipeline import Pass
from lwc.trace import Program

# The names of the lower and the upper bound.
_TENSOR_CLAMPS: dict[Any, tuple[str, str]] = {
    aten.clamp.Tensor: ("min", "max"),
    aten.clamp_min.Tensor: ("min", ""),
    aten.clamp_max.Tensor: ("", "max"),
}


@dataclass(frozen=True)
class Clamp:
    """`node` is `x` between two bounds, each None, a number or a constant's node; `inner` applies one of them."""

    node: fx.Node
    x: fx.Node
    bounds: tuple[Any, Any]
    inner: fx.Node | None = None


@dataclass(frozen=True)
class RecognizeClamps(Pass[Clamp]):
    """Maxima, minima and clamps with constant tensors, and two clamps from one side, become one clamp."""

    name: ClassVar[str] = "recognize-clamps"
    # A maximum of a minimum is two clamps first.
    repeat: ClassVar[bool] = True

    def match(self, program: Program, node: fx.Node) -> Clamp | None:
        """A clamp with tensors, a clamp from one side that reads one from the other side, or clamp_max."""
        found = _of_tensors(program.module, node) or _of_two(node) or _of_upper_bound(node)
        bounds = () if found is None else found.bounds
        known = all(_is_bound(program.module, bound) for bound in bounds)
        return found if known else None

    def refuse(self, program: Program, match: Clamp) -> str | None:
        """The clamp has to give what was there."""
        return _refuse(match, [number(program.module, bound) for bound in match.bounds if bound is not None])

    def rewrite(self, program: Program, match: Clamp) -> None:
        """See the module's docstring."""
        bounds = [number(program.module, bound) for bound in match.bounds]
        with program.module.graph.inserting_before(match.node):
            clamp = program.module.graph.call_function(aten.clamp.default, (match.x, *bounds))
        clamp.meta = dict(match.node.meta)
        match.node.replace_all_uses_with(clamp)
        program.module.graph.erase_node(match.node)


def number(module: fx.GraphModule, operand: Any) -> float | None:
    """The number that `operand` is, or that every element of this constant is."""
    if isinstance(operand, int | float):
        return float(operand)
    tensor = constant(module, operand)
    if tensor is None or tensor.numel() == 0 or tensor.is_complex():
        return None
    first = tensor.flatten()[0]
    same = tensor.isnan() if first.isnan() else tensor == first
    return float(first) if bool(same.all()) else None


def constant_last(module: fx.GraphModule, one: Any, other: Any) -> tuple[Any, Any]:
    """The operands of a commutative operator, the constant second."""
    return (one, other) if constant(module, one) is None else (other, one)


def _is_bound(module: fx.GraphModule, bound: Any) -> bool:
    return not isinstance(bound, fx.Node) or constant(module, bound) is not None


def _of_tensors(module: fx.GraphModule, node: fx.Node) -> Clamp | None:
    if node.target in _TENSOR_CLAMPS:
        values, (low, high) = named_arguments(node), _TENSOR_CLAMPS[node.target]
        return Clamp(node, values["self"], (values.get(low), values.get(high)))
    if node.target not in (aten.maximum.default, aten.minimum.default):
        return None
    x, bound = constant_last(module, *node.args)
    return Clamp(node, x, (bound, None) if node.target is aten.maximum.default else (None, bound))


def _of_two(node: fx.Node) -> Clamp | None:
    inner = node.args[0] if node.target in CLAMPS else None
    if not isinstance(inner, fx.Node) or inner.target not in CLAMPS:
        return None
    (low, high), (inner_low, inner_high) = clamp_bounds(node), clamp_bounds(inner)
    x: Any = inner.args[0]
    if high is None and inner_low is None:
        return Clamp(node, x, (low, inner_high), inner)
    if low is None and inner_high is None:
        return Clamp(node, x, (inner_low, high), inner)
    return None


def _of_upper_bound(node: fx.Node) -> Clamp | None:
    # TVM's importer looks for the bound of clamp_max where clamp has it, and then does not clamp.
    if node.target is not aten.clamp_max.default:
        return None
    x: Any = node.args[0]
    return Clamp(node, x, clamp_bounds(node))


def _refuse(match: Clamp, bounds: list[float | None]) -> str | None:
    value, x = match.node.meta["val"], match.x.meta["val"]
    if not x.is_floating_point():
        return "its operand is not of floating point"
    if (value.dtype, value.shape) != (x.dtype, x.shape):
        return "its bound changes the shape or the dtype"
    known = [bound for bound in bounds if bound is not None]
    if len(known) < len(bounds):
        return "its bound has several values"
    if any(map(math.isnan, known)):
        return "a bound is not a number"
    if match.inner is not None and len(match.inner.users) > 1:
        return "the clamp before it has another user"
    if match.inner is not None and known != sorted(known):
        return "its bounds are reversed"
    return None
