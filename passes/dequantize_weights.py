"""Integer weights that no layer reads as integers become float32.

Given:   y = conv2d(x, dequantize_weight(Q, s))      that lower-int8 left
Result:  y = conv2d(x, W)                            W = s Q
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, constant
from lwc.pipeline import Pass
from lwc.trace import Program


@dataclass(frozen=True)
class DequantizeWeights(Pass[fx.Node]):
    """What is left of integer weights becomes constants in float32."""

    name: ClassVar[str] = "dequantize-weights"

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """Integers with their scales."""
        return node if node.target is torch.ops.lwc.dequantize_weight.default else None

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the module's docstring."""
        weight, scale = (constant(program.module, operand) for operand in match.args)
        with program.module.graph.inserting_before(match):
            real = add_constant(program.module, match.name, torch.ops.lwc.dequantize_weight(weight, scale))
        match.replace_all_uses_with(real)
        program.module.graph.erase_node(match)
