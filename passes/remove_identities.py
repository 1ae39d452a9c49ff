"""Remove what changes neither values nor shape: dropout in evaluation, copies, reshapes to the same shape.

Given:   y = clone(dropout(view(x, shape of x)))
Result:  y = x
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import fx

from lwc.graph import RESHAPES, aten, calls, shape_of
from lwc.pipeline import Pass, PassResult
from lwc.trace import Program

# Values and shape stay, whatever the arguments are (the graph is functional: nothing writes into a copy).
_ALWAYS = (aten.alias.default, aten.detach.default, aten.clone.default, aten.contiguous.default)
_DROPOUT = (aten.dropout.default, aten.dropout_.default, aten.native_dropout.default)
_SAME_SHAPE = (*RESHAPES, aten.expand.default, aten.slice.Tensor, aten.flatten.using_ints)


@dataclass(frozen=True)
class RemoveIdentities(Pass):
    """Remove dropout, copies, casts and reshapes that change nothing."""

    name: ClassVar[str] = "remove-identities"

    def run(self, program: Program) -> PassResult:
        """See the module's docstring."""
        count = 0
        for node in calls(program.module.graph, *RESHAPES):
            # A view of a copy may not be a view of what was copied; a reshape always exists.
            node.target = aten.reshape.default
        for node in calls(program.module.graph, *_ALWAYS, *_DROPOUT, *_SAME_SHAPE, aten._to_copy.default):
            source: Any = node.args[0]
            if not _changes_nothing(node, source):
                continue
            node.replace_all_uses_with(source)
            program.module.graph.erase_node(node)
            count += 1
        return PassResult(count)


def _changes_nothing(node: fx.Node, source: fx.Node) -> bool:
    if node.target in _ALWAYS:
        return True
    if node.target in _DROPOUT:
        training = node.args[2] if len(node.args) > 2 else node.kwargs.get("train", True)
        return training is False and node.target is not aten.native_dropout.default
    same_type = node.meta["val"].dtype == source.meta["val"].dtype
    return same_type and shape_of(node) == shape_of(source)
