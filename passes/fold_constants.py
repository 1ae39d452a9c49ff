"""Compute what depends on no input, once, at compile time.

Given:   y = f(c1, c2)      c1, c2 constants
Result:  y = c              c = f(c1, c2)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, constant
from lwc.pipeline import Pass
from lwc.trace import Program


@dataclass(frozen=True)
class Computed:
    """A node that constants alone feed: its value, or why it is not computed."""

    node: fx.Node
    value: torch.Tensor | str


@dataclass(frozen=True)
class FoldConstants(Pass[Computed]):
    """Compute nodes that depend on constants only, up to `max_elements` elements each."""

    name: ClassVar[str] = "fold-constants"
    max_elements: int = 1 << 22

    def __post_init__(self) -> None:
        if self.max_elements < 0:
            raise ValueError(f"max-elements {self.max_elements}: out of range; give 0 or more")

    def candidates(self, program: Program) -> Iterator[tuple[fx.Node, Computed]]:
        """What is not computed, then each constant that the rest of the graph reads."""
        values: dict[fx.Node, Any] = {}
        for node in program.module.graph.nodes:
            value = constant(program.module, node)
            if value is not None:
                values[node] = value
            if node.op != "call_function" or not all(n in values for n in node.all_input_nodes):
                continue
            reason = self._reason_against(node)
            if reason is not None:
                yield node, Computed(node, reason)
                continue
            values[node] = _evaluate(node, values)
        for node, value in values.items():
            read = any(user not in values for user in node.users)
            if read and node.op == "call_function" and isinstance(value, torch.Tensor):
                yield node, Computed(node, value)

    def refuse(self, program: Program, match: Computed) -> str | None:
        """Random numbers and large tensors stay."""
        return match.value if isinstance(match.value, str) else None

    def rewrite(self, program: Program, match: Computed) -> None:
        """The users read the value."""
        assert isinstance(match.value, torch.Tensor)
        with program.module.graph.inserting_before(match.node):
            replacement = add_constant(program.module, f"folded_{match.node.name}", match.value)
        match.node.replace_all_uses_with(replacement)

    def _reason_against(self, node: fx.Node) -> str | None:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            return "it is random"
        if node.target is torch.ops.lwc.dequantize_weight.default:
            return "layers may read its integers"
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
