"""`lwc::qattention`: softmax attention on 8-bit integers, the softmax itself in float32.

    S = sum over c of (q - z) (k - z)      exact
    s = S m + bias                         one fused multiply-add in float32; m is the head's
    p = round(255 exp(s - max s))          from 0 to 255, round half to even
    y = requantize((sum over n of p (v - z)) / (sum over n of p), the channel's multiplier)

The sums are exact, and rounded to float32 before the division. z is the middle of the type: 128 of uint8, 0 of int8.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import fx

from lwc.ops.attention import Heads, split_heads
from lwc.ops.exact import exp, multiply_add
from lwc.ops.quantize_channels import STEPS, middle
from lwc.ops.requantize import requantize
from lwc.ops.view import OperatorView

# The weight of a query's nearest key.
LARGEST_WEIGHT = 255
# The sums of values have 32 bits.
MOST_KEYS = (2**31 - 1) // (LARGEST_WEIGHT * STEPS)


@torch.library.custom_op("lwc::qattention", mutates_args=())
def qattention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    multiplier: torch.Tensor,
    value_multiplier: torch.Tensor,
    heads: int,
    query_heads: Sequence[int],
    key_heads: Sequence[int],
    value_heads: Sequence[int],
    activation: str,
    inverse_scale: float,
    minimum: float | None,
    maximum: float | None,
    zero_point: int | None,
) -> torch.Tensor:
    """The module's formula for each of `heads`, side by side: (B, M, heads * value size).

    query: (B, M, Cq), key: (B, N, Ck), value: (B, N, Cv), uint8 or int8; may be the same tensor.
    bias: float32 (heads, M, N); multiplier: float32 (heads,), scales of q and k times that of the scores;
    value_multiplier: float32 (heads * value size,). The heads are as in `lwc::attention`, the operands from
    `activation` on as in `requantize`. A result of `zero_point` None is float32, else of the type of the query.
    """
    q, k, v = (
        split_heads(x.double() - middle(x.dtype), heads, Heads(*where))
        for x, where in ((query, query_heads), (key, key_heads), (value, value_heads))
    )
    sums = (q @ k.transpose(-1, -2)).float()
    scores = multiply_add(sums, multiplier.reshape(-1, 1, 1), 0.0 if bias is None else bias)
    nearness = exp(scores - scores.amax(-1, keepdim=True))
    weights = (LARGEST_WEIGHT * nearness).round().double()
    mixed, total = (weights @ v).float(), weights.sum(-1, keepdim=True).float()
    return requantize(
        (mixed / total).transpose(1, 2).flatten(2),
        value_multiplier,
        None,
        1.0,
        0,
        activation,
        inverse_scale,
        minimum,
        maximum,
        zero_point,
        query.dtype,
    ).contiguous()


@qattention.register_fake
def _qattention_shape(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    multiplier: torch.Tensor,
    value_multiplier: torch.Tensor,
    *rest: Any,
) -> torch.Tensor:
    dtype = multiplier.dtype if rest[-1] is None else query.dtype
    return query.new_empty((*query.shape[:2], len(value_multiplier)), dtype=dtype)


@dataclass(frozen=True)
class QuantizedAttentionView(OperatorView):
    """The operands of a node that calls `lwc::qattention`, by name."""

    query: fx.Node
    key: fx.Node
    value: fx.Node
    bias: fx.Node | None
    multiplier: fx.Node
    value_multiplier: fx.Node
    heads: int
    query_heads: Heads
    key_heads: Heads
    value_heads: Heads
    activation: str
    inverse_scale: float
    minimum: float | None
    maximum: float | None
    zero_point: int | None

    @classmethod
    def of(cls, node: fx.Node) -> Self:
        """The view of `node`."""
        view = super().of(node)
        query, key, value = (Heads(*where) for where in (view.query_heads, view.key_heads, view.value_heads))
        return replace(view, query_heads=query, key_heads=key, value_heads=value)
