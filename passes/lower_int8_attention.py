"""Attention between dequantization and quantization computes on integers.

Given:   y = quantize(attention(dequantize(q, sq), dequantize(k, sk), dequantize(v, sv), scale, bias), sy, zy)
Result:  y = qattention(q, k, v, bias, multiplier scale sq sk, value multiplier sv / sy, zy)

sq and sk are one for each head, sv one for each channel. As in `lower-int8` the result is float32 where something needs
it so, and an activation is computed in float32.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, constant
from lwc.ops import AttentionView, DequantizeChannelsView, QuantizedAttentionView
from lwc.ops.attention import Heads
from lwc.ops.requantize import single
from lwc.passes.lower_int8 import bounds_of, origin, output_of
from lwc.pipeline import Pass
from lwc.trace import Program

_DEQUANTIZE = torch.ops.lwc.dequantize_channels.default


@dataclass(frozen=True)
class LowerInt8Attention(Pass[fx.Node]):
    """Attention of which queries, keys and values were integers computes on these."""

    name: ClassVar[str] = "lower-int8-attention"
    introduces: ClassVar[tuple[str, ...]] = ("lwc.qattention.default",)

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """Attention that reads integers, the channels of a head of queries or keys of one scale."""
        if node.target is not torch.ops.lwc.attention.default:
            return None
        view = AttentionView.of(node)
        if any(operand.target is not _DEQUANTIZE for operand in (view.query, view.key, view.value)):
            return None
        for operand, where in ((view.query, view.query_heads), (view.key, view.key_heads)):
            scales = _of_heads(_integers(program.module, operand)[1], where, view.heads)
            if (scales != scales[:, :1]).any():
                return None
        return node

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the module's docstring."""
        module, view, output = program.module, AttentionView.of(match), output_of(match)
        (q, query_scale), (k, key_scale), (v, value_scale) = (
            _integers(module, operand) for operand in (view.query, view.key, view.value)
        )
        inverse = 1.0 if output.view is None else output.view.inverse_scale
        plain = view.activation == "identity"
        scores = view.scale * _of_heads(query_scale, view.query_heads, view.heads)[:, 0]
        scores = scores * _of_heads(key_scale, view.key_heads, view.heads)[:, 0]
        values = _of_heads(value_scale, view.value_heads, view.heads).flatten() * (inverse if plain else 1.0)
        minimum, maximum, zero_point = bounds_of(view.minimum, view.maximum, output)
        with module.graph.inserting_before(match):
            operands = QuantizedAttentionView(
                q,
                k,
                v,
                view.bias,
                add_constant(module, f"{match.name}_multiplier", scores.float()),
                add_constant(module, f"{match.name}_value_multiplier", values.float()),
                view.heads,
                view.query_heads,
                view.key_heads,
                view.value_heads,
                view.activation,
                1.0 if plain else single(inverse),
                minimum,
                maximum,
                zero_point,
            )
            lowered = module.graph.call_function(torch.ops.lwc.qattention.default, operands.arguments)
        lowered.meta |= origin(match)
        for reader in output.readers or (match,):
            reader.replace_all_uses_with(lowered)
        for reader in output.readers:
            module.graph.erase_node(reader)


def _integers(module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, torch.Tensor]:
    """What the dequantization `node` reads, and its scales in float64."""
    view = DequantizeChannelsView.of(node)
    scale = constant(module, view.scale)
    assert scale is not None
    return view.x, scale.double()


def _of_heads(scale: torch.Tensor, where: Heads, count: int) -> torch.Tensor:
    """The scales of the channels of each head, (heads, size)."""
    return torch.stack([scale[where.offset + h * where.stride :][: where.size] for h in range(count)])
