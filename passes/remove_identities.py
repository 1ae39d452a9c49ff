"""Remove what changes neither values nor shape: dropout in evaluation, copies, reshapes to the same shape.

Given:   y = clone(dropout(view(x, shape of x)))
Result:  y = x

Given:   y = reshape(reshape(x, s), t)
Result:  y = reshape(x, t), or x where that has the shape t
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import fx

from lwc.graph import RESHAPES, aten, shape_of, through_reshapes
from lwc.pipeline import Pass
from lwc.trace import Program

# Values and shape stay, whatever the arguments are (the graph is functional: nothing writes into a copy).
_ALWAYS = (aten.alias.default, aten.detach.default, aten.clone.default, aten.contiguous.default)
_DROPOUT = (aten.dropout.default, aten.dropout_.default, aten.native_dropout.default)
_SAME_SHAPE = (*RESHAPES, aten.expand.default, aten.slice.Tensor, aten.flatten.using_ints)


@dataclass(frozen=True)
class Identity:
    """A node, and another that has all its elements in the same order."""

    node: fx.Node
    source: fx.Node


@dataclass(frozen=True)
class RemoveIdentities(Pass[Identity]):
    """Remove dropout, copies, casts and reshapes that change nothing, and all of several reshapes but one."""

    name: ClassVar[str] = "remove-identities"

    def match(self, program: Program, node: fx.Node) -> Identity | None:
        """A node that gives its first operand as it is, or a reshape of a reshape."""
        if node.op != "call_function":
            return None
        operand: Any = node.args[0] if node.args else None
        if _changes_nothing(node):
            return Identity(node, operand)
        is_chain = node.target in RESHAPES and operand.target in RESHAPES
        return Identity(node, through_reshapes(operand)) if is_chain else None

    def rewrite(self, program: Program, match: Identity) -> None:
        """The users read the source, or a reshape of it."""
        node, source = match.node, match.source
        if shape_of(node) == shape_of(source):
            node.replace_all_uses_with(source)
            program.module.graph.erase_node(node)
            return
        node.target, node.args, node.kwargs = aten.reshape.default, (source, list(shape_of(node))), {}


def _changes_nothing(node: fx.Node) -> bool:
    if node.target in _ALWAYS:
        return True
    if node.target in _DROPOUT:
        training = node.args[2] if len(node.args) > 2 else node.kwargs.get("train", True)
        return training is False and node.target is not aten.native_dropout.default
    if node.target not in _SAME_SHAPE and node.target is not aten._to_copy.default:
        return False
    source: Any = node.args[0]
    same_type = node.meta["val"].dtype == source.meta["val"].dtype
    return same_type and shape_of(node) == shape_of(source)
