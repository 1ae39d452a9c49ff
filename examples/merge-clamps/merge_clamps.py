"""Two clamps in a row become one.

Given:   y = clamp(clamp(x, a, b), c, d)         a <= b, c <= d
Result:  y = clamp(x, clamp(a, c, d), clamp(b, c, d))

The second clamp keeps order, so it may be applied to the first one's bounds instead of to its result. A bound that is
not there is an infinity.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import aten, has_other_users
from lwc.ops.view import named_arguments
from lwc.pipeline import Pass
from lwc.trace import Program

Bounds = tuple[float, float]

_CLAMPS = (
    aten.relu.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.clamp.default,
    aten.clamp_min.default,
    aten.clamp_max.default,
)


@dataclass(frozen=True)
class Pair:
    """Two clamps, of which the second reads the first."""

    first: fx.Node
    second: fx.Node


@dataclass(frozen=True)
class MergeClamps(Pass[Pair]):
    """Two clamps in a row become one."""

    name: ClassVar[str] = "merge-clamps"

    def match(self, program: Program, node: fx.Node) -> Pair | None:
        """A clamp that reads a clamp."""
        first = node.args[0] if node.target in _CLAMPS else None
        if not isinstance(first, fx.Node) or first.target not in _CLAMPS:
            return None
        return Pair(first, node)

    def refuse(self, program: Program, match: Pair) -> str | None:
        """The algebra needs bounds in order; a first clamp that others read would stay, and nothing be saved."""
        return _refuse(match)

    def rewrite(self, program: Program, match: Pair) -> None:
        """See the module's docstring."""
        low, high = (_clamp(bound, _bounds(match.second)) for bound in _bounds(match.first))
        graph = program.module.graph
        arguments = (match.first.args[0], _operand(low), _operand(high))
        with graph.inserting_before(match.second):
            merged = graph.call_function(aten.clamp.default, arguments)
        # A third clamp that reads this one asks for its dtype.
        merged.meta["val"] = match.second.meta["val"]
        match.second.replace_all_uses_with(merged)
        graph.erase_node(match.second)


def _bounds(node: fx.Node) -> Bounds:
    """The least and the greatest value that `node` gives."""
    values = named_arguments(node)
    if node.target is aten.relu.default:
        return 0.0, math.inf
    if node.target is aten.relu6.default:
        return 0.0, 6.0
    # ATen's hardtanh has names of its own for them.
    low = values.get("min", values.get("min_val"))
    high = values.get("max", values.get("max_val"))
    return _number(low, -math.inf), _number(high, math.inf)


def _number(value: Any, absent: float) -> float:
    return absent if value is None else float(value)


def _clamp(value: float, bounds: Bounds) -> float:
    return min(max(value, bounds[0]), bounds[1])


def _operand(bound: float) -> float | None:
    """What ATen's clamp takes: None for no bound."""
    return bound if math.isfinite(bound) else None


def _refuse(match: Pair) -> str | None:
    first, second = _bounds(match.first), _bounds(match.second)
    if has_other_users(match.first, match.second):
        return "the first clamp has another user, for which it would stay"
    if not _dtype(match.first.args[0]).is_floating_point:
        return "the clamps read integers, which a float bound would promote"
    if any(math.isnan(bound) for bound in (*first, *second)):
        return "a bound is not a number"
    if first[0] > first[1]:
        return "the first clamp's bounds are reversed"
    if second[0] > second[1]:
        return "the second clamp's bounds are reversed"
    if math.inf in (first[0], second[0]) or -math.inf in (first[1], second[1]):
        return "a lower bound is infinity, or an upper bound minus infinity"
    if (*first, *second) == (-math.inf, math.inf) * 2:
        return "neither of them has a bound"
    return None


def _dtype(node: Any) -> torch.dtype:
    dtype: torch.dtype = node.meta["val"].dtype
    return dtype
