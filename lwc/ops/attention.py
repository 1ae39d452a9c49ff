"""`lwc::attention`: softmax attention that reads its heads out of token matrices as they lie, with its activation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import fx

from lwc.ops.activation import apply_epilogue
from lwc.ops.view import OperatorView


class Heads(NamedTuple):
    """Where the heads lie in the channels of a token: head h is x[..., offset + h * stride :][..., :size]."""

    offset: int
    stride: int
    size: int


@torch.library.custom_op("lwc::attention", mutates_args=())
def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    heads: int,
    query_heads: Sequence[int],
    key_heads: Sequence[int],
    value_heads: Sequence[int],
    scale: float,
    activation: str,
    minimum: float | None,
    maximum: float | None,
) -> torch.Tensor:
    """clamp(activation(softmax(scale * q k^T + bias) v), minimum, maximum) for each of `heads`, side by side.

    query: (B, M, Cq), key: (B, N, Ck), value: (B, N, Cv); may be the same tensor. bias: (heads, M, N).
    q, k and v are what `query_heads`, `key_heads` and `value_heads`, each (offset, stride, size), say.
    The result is (B, M, heads * value size).
    """
    q, k, v = (
        split_heads(x, heads, Heads(*where))
        for x, where in ((query, query_heads), (key, key_heads), (value, value_heads))
    )
    scores = scale * (q @ k.transpose(-1, -2))
    if bias is not None:
        scores = scores + bias
    y = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return apply_epilogue(y, None, activation, minimum, maximum).clone(memory_format=torch.contiguous_format)


def split_heads(x: torch.Tensor, heads: int, where: Heads) -> torch.Tensor:
    """The heads of x (B, N, C) as (B, heads, N, size)."""
    extent = (heads - 1) * where.stride + where.size
    return x.narrow(-1, where.offset, extent).unfold(-1, where.size, where.stride).transpose(1, 2)


@attention.register_fake
def _attention_shape(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    heads: int,
    query_heads: Sequence[int],
    key_heads: Sequence[int],
    value_heads: Sequence[int],
    scale: float,
    activation: str,
    minimum: float | None,
    maximum: float | None,
) -> torch.Tensor:
    return query.new_empty((*query.shape[:2], heads * value_heads[2]))


@dataclass(frozen=True)
class AttentionView(OperatorView):
    """The operands of a node that calls `lwc::attention`, by name."""

    query: fx.Node
    key: fx.Node
    value: fx.Node
    bias: fx.Node | None
    heads: int
    query_heads: Heads
    key_heads: Heads
    value_heads: Heads
    scale: float = 1.0
    activation: str = "identity"
    minimum: float | None = None
    maximum: float | None = None

    @classmethod
    def of(cls, node: fx.Node) -> Self:
        """The view of `node`."""
        view = super().of(node)
        query, key, value = (Heads(*where) for where in (view.query_heads, view.key_heads, view.value_heads))
        return replace(view, query_heads=query, key_heads=key, value_heads=value)
