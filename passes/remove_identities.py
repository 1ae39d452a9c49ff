"""Remove what changes neither values nor shape: dropout in evaluation, copies, reshapes to the same shape.

Given:   y = clone(dropout(view(x, shape of x)))
Result:  y = x
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import fx

from lwc.graph import RESHAPES, aten, shape_of
from lwc.pipeline import Pass
from lwc.trace import Program

# Values and shape stay, whatever the arguments are (the graph is functional: nothing writes into a copy).
_ALWAYS = (aten.alias.default, aten.detach.default, aten.clone.default, aten.contiguous.default)
_DROPOUT = (aten.dropout.default, aten.dropout_.default, aten.native_dropout.default)
_SAME_SHAPE = (*RESHAPES, aten.expand.default, aten.slice.Tensor, aten.flatten.using_ints)


@dataclass(frozen=True)
class RemoveIdentities(Pass[fx.Node]):
    """Remove dropout, copies, casts and reshapes that change nothing."""

    name: ClassVar[str] = "remove-identities"

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A node that gives its first operand as it is."""
        return node if node.op == "call_function" and _changes_nothing(node) else None

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """The users read the operand."""
        source: Any = match.args[0]
        match.replace_all_uses_with(source)
        program.module.graph.erase_node(match)


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
