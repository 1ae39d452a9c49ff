"""Quantization moves up, through what only moves elements, to the layer that computes them.

Given:   y = quantize(reshape(x))       reshape, permute, slice or concatenation that nothing else reads
Result:  y = reshape(quantize(x))

The layer can then write integers, and a quarter of the bytes is moved.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import MOVES, aten
from lwc.pipeline import Pass
from lwc.trace import Program

_QUANTIZE = torch.ops.lwc.quantize.default


@dataclass(frozen=True)
class HoistQuantize(Pass[fx.Node]):
    """Quantization moves before reshapes, transposes, slices and concatenations."""

    name: ClassVar[str] = "hoist-quantize"
    introduces: ClassVar[tuple[str, ...]] = ("lwc.quantize.default",)
    repeat: ClassVar[bool] = True

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A quantization of what was moved."""
        if node.target is not _QUANTIZE:
            return None
        source: Any = node.args[0]
        return node if source.target in MOVES else None

    def refuse(self, program: Program, match: Any) -> str | None:
        """Nothing else reads what is moved."""
        return None if len(match.args[0].users) == 1 else "what it quantizes has another reader"

    def rewrite(self, program: Program, match: Any) -> None:
        """See the module's docstring."""
        graph, moved = program.module.graph, match.args[0]
        sources = moved.args[0] if moved.target is aten.cat.default else [moved.args[0]]
        with graph.inserting_before(moved):
            quantized = [graph.call_function(_QUANTIZE, (source, *match.args[1:])) for source in sources]
        first: Any = quantized if moved.target is aten.cat.default else quantized[0]
        with graph.inserting_before(match):
            again = graph.call_function(moved.target, (first, *moved.args[1:]), dict(moved.kwargs))
        match.replace_all_uses_with(again)
        graph.erase_node(match)
