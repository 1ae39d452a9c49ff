"""Compute what depends on no input, once, at compile time.

Given:   y = f(c1, c2)      c1, c2 constants
Result:  y = c              c = f(c1, c2)
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, constant
from lwc.pipeline import Pass, PassResult, Refusal
from lwc.trace import Program


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Compute nodes that depend on constants only, up to `max_elements` elements each."""

    name: ClassVar[str] = "fold-constants"
    max_elements: int = 1 << 22

    def run(self, program: Program) -> PassResult:
        """See the module's docstring."""
        module = program.module
        values: dict[fx.Node, Any] = {}
        refusals = []
        for node in module.graph.nodes:
            value = constant(module, node)
            if value is not None:
                values[node] = value
            if node.op != "call_function" or not all(n in values for n in node.all_input_nodes):
                continue
            reason = self._refuse(node)
            if reason is not None:
                refusals.append(Refusal(node.name, reason))
                continue
            values[node] = _evaluate(node, values)
        # From the end, so that what only other constants read has no reader left and goes.
        folded = [node for node in reversed(values) if node.op == "call_function"]
        count = sum(_replace(module, node, values[node]) for node in folded)
        return PassResult(count, tuple(refusals))

    def _refuse(self, node: fx.Node) -> str | None:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            return "it is random"
        if not _fits(node.meta.get("val"), self.max_elements):
            return f"its value has more than {self.max_elements} elements"
        return None


def _fits(value: Any, limit: int) -> bool:
    if isinstance(value, tuple | list):
        return all(_fits(item, limit) for item in value)
    return not isinstance(value, torch.Tensor) or value.numel() <= limit


def _evaluate(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    arguments, keywords = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
    with torch.no_grad():
        return node.target(*arguments, **keywords)  # type: ignore[operator]


def _replace(module: fx.GraphModule, node: fx.Node, value: Any) -> bool:
    """Replace a tensor that something reads, and erase its node; tells whether it replaced."""
    replaced = bool(node.users) and isinstance(value, torch.Tensor)
    if replaced:
        with module.graph.inserting_before(node):
            replacement = add_constant(module, f"folded_{node.name}", value)
        node.replace_all_uses_with(replacement)
    if not node.users:
        module.graph.erase_node(node)
    return replaced
