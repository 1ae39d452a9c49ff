"""Compute the same value once.

Given:   y = f(x, c)      z = f(x, c)
Result:  y = f(x, c)      z = y
"""

import operator
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import constant
from lwc.ops.view import named_arguments
from lwc.pipeline import Pass
from lwc.trace import Program


@dataclass(frozen=True)
class Duplicate:
    """A node, and the first that calls the same operator on the same operands."""

    node: fx.Node
    first: fx.Node


@dataclass(frozen=True)
class MergeCommonSubexpressions(Pass[Duplicate]):
    """Calls of the same operator on the same operands become one."""

    name: ClassVar[str] = "merge-common-subexpressions"

    def candidates(self, program: Program) -> Iterator[tuple[fx.Node, Duplicate]]:
        """Each call that an earlier one makes too; what was merged before makes more operands the same."""
        module = program.module
        seen: dict[Hashable, list[fx.Node]] = defaultdict(list)
        for node in list(module.graph.nodes):
            if not _is_call(node):
                continue
            alike = seen[_key(module, node)]
            first = next((other for other in alike if _same_constants(module, node, other)), None)
            if first is None:
                alike.append(node)
            else:
                yield node, Duplicate(node, first)

    def refuse(self, program: Program, match: Duplicate) -> str | None:
        """Random numbers are drawn anew by each call."""
        if torch.Tag.nondeterministic_seeded in getattr(match.node.target, "tags", ()):
            return "it is random"
        return None

    def rewrite(self, program: Program, match: Duplicate) -> None:
        """The users read the first."""
        match.node.replace_all_uses_with(match.first)
        program.module.graph.erase_node(match.node)


def _is_call(node: fx.Node) -> bool:
    """Whether `node` is a function of its operands; a control flow operator may hide random numbers."""
    return node.op == "call_function" and (
        isinstance(node.target, torch._ops.OpOverload) or node.target is operator.getitem
    )


def _key(module: fx.GraphModule, node: fx.Node) -> Hashable:
    """The operator and its operands; of constants, which are expensive to compare, their kind only."""
    return node.target, _operand(module, _arguments(node))


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    """The arguments in the order of the operator's schema, defaults filled in."""
    return node.args if node.target is operator.getitem else tuple(named_arguments(node).values())


def _operand(module: fx.GraphModule, value: Any) -> Hashable:
    if isinstance(value, tuple | list):
        return tuple(_operand(module, item) for item in value)
    if not isinstance(value, fx.Node):
        # Text tells -0.0 from 0.0, and the type tells 1, 1.0 and True apart.
        return type(value), repr(value)
    tensor = constant(module, value)
    return value if tensor is None else (tensor.dtype, tensor.shape, tensor.stride())


def _same_constants(module: fx.GraphModule, node: fx.Node, other: fx.Node) -> bool:
    """Whether two nodes of the same key read the same constants, bit for bit."""
    pairs = zip(_constants(module, node), _constants(module, other), strict=True)
    return all(a is b or torch.equal(_bits(a), _bits(b)) for a, b in pairs)


def _constants(module: fx.GraphModule, node: fx.Node) -> list[torch.Tensor]:
    """The constants among the node's operands, each as often as it is read."""
    found: list[torch.Tensor] = []

    def collect(operand: fx.Node) -> fx.Node:
        tensor = constant(module, operand)
        if tensor is not None:
            found.append(tensor)
        return operand

    fx.node.map_arg(_arguments(node), collect)
    return found


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """As bytes: a NaN equals itself there, and -0.0 is not 0.0."""
    return tensor.reshape(-1).view(torch.uint8)
