"""Integers that become real numbers, and then the same integers again, are left as they are.

Given:   y = quantize(dequantize(x))        of the same scale, zero point and type
Result:  y = x
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import constant
from lwc.ops import DequantizeView, QuantizeView
from lwc.ops.quantize import DTYPES
from lwc.ops.requantize import single
from lwc.pipeline import Pass
from lwc.trace import Program

_QUANTIZE, _DEQUANTIZE = torch.ops.lwc.quantize.default, torch.ops.lwc.dequantize.default


@dataclass(frozen=True)
class CancelRequantize(Pass[fx.Node]):
    """Quantization of what has just been made real, in the same way, is left out."""

    name: ClassVar[str] = "cancel-requantize"

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A quantization of a dequantization."""
        if node.target is not _QUANTIZE:
            return None
        source: Any = node.args[0]
        return node if source.target is _DEQUANTIZE else None

    def refuse(self, program: Program, match: fx.Node) -> str | None:
        """Both mean the same real numbers by the same integers."""
        after = QuantizeView.of(match)
        before = DequantizeView.of(after.x)
        scale = constant(program.module, before.scale)
        if scale is None or after.inverse_scale != single(1 / single(float(scale))):
            return "the scales differ"
        if after.zero_point != before.zero_point or before.x.meta["val"].dtype != DTYPES[after.dtype]:
            return "the zero points or the types differ"
        return None

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the module's docstring."""
        match.replace_all_uses_with(DequantizeView.of(QuantizeView.of(match).x).x)
        program.module.graph.erase_node(match)
