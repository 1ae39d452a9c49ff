"""Dequantization moves down, through what only moves elements, to the layer that reads them.

Given:   y = reshape(dequantize(x))     reshape, permute, slice, or concatenation of one scale
Result:  y = dequantize(reshape(x))

The layer can then read integers, and a quarter of the bytes is moved.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import MOVES, aten, constant
from lwc.ops import DequantizeView
from lwc.pipeline import Pass
from lwc.trace import Program

_DEQUANTIZE = torch.ops.lwc.dequantize.default


@dataclass(frozen=True)
class Moved:
    """`node` moves what `sources` dequantize, one or several that are concatenated."""

    node: fx.Node
    sources: tuple[DequantizeView, ...]


@dataclass(frozen=True)
class SinkDequantize(Pass[Moved]):
    """Dequantization moves behind reshapes, transposes, slices and concatenations."""

    name: ClassVar[str] = "sink-dequantize"
    introduces: ClassVar[tuple[str, ...]] = ("lwc.dequantize.default",)
    repeat: ClassVar[bool] = True

    def match(self, program: Program, node: fx.Node) -> Moved | None:
        """What moves dequantized numbers."""
        if node.target not in MOVES:
            return None
        operands: Any = node.args[0] if node.target is aten.cat.default else [node.args[0]]
        if any(operand.target is not _DEQUANTIZE for operand in operands):
            return None
        return Moved(node, tuple(map(DequantizeView.of, operands)))

    def refuse(self, program: Program, match: Moved) -> str | None:
        """One dequantization has to do for all."""
        scales = [constant(program.module, source.scale) for source in match.sources]
        if any(scale is None for scale in scales):
            return "its scale is not a constant"
        zero_points = [source.zero_point for source in match.sources]
        found = {(float(scale), z) for scale, z in zip(scales, zero_points, strict=True) if scale is not None}
        return None if len(found) == 1 else "what it joins has several scales"

    def rewrite(self, program: Program, match: Moved) -> None:
        """See the module's docstring."""
        graph, sources = program.module.graph, match.sources
        node: Any = match.node
        integers = [source.x for source in sources]
        first = integers if node.target is aten.cat.default else integers[0]
        with graph.inserting_before(node):
            moved = graph.call_function(node.target, (first, *node.args[1:]), dict(node.kwargs))
            real = graph.call_function(_DEQUANTIZE, (moved, *sources[0].arguments[1:]))
        real.meta = dict(node.meta)
        node.replace_all_uses_with(real)
        graph.erase_node(node)
