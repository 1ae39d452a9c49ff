"""fuse-attention: scale, products, bias and softmax become one operator that reads its heads where they lie."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls
from lwc.ops import AttentionView, Heads
from lwc.trace import Program
from tests.programs import operators, program_of, rewrite

# Two images of five tokens, and of three that only ask; three heads of four channels.
TOKENS, FEWER = (2, 5, 8), (2, 3, 8)
PASSES = "remove-identities,raise-operators,fuse-attention"
Tensor = torch.Tensor


# Each query sees the keys up to itself, but for the last one, which sees none.
HIDES_ALL = torch.zeros(5, 5).masked_fill(torch.ones(5, 5).triu(1) > 0, float("-inf"))
HIDES_ALL[-1] = float("-inf")


def by_head(x: Tensor, heads: int = 3) -> Tensor:
    """x (B, N, C) as (B, heads, N, C / heads)."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def by_token(x: Tensor) -> Tensor:
    """x (B, heads, N, size) as (B, N, heads * size)."""
    return x.transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float = 0.4) -> Tensor:
    """Attention as models write it."""
    return (q @ k.transpose(-1, -2) * scale).softmax(-1) @ v


class Network(nn.Module):
    """`function(q, k, v, bias)` of three projections of an input, by head; queries may come from another one."""

    def __init__(self, function: Callable[..., Tensor], bias: tuple[int, ...] = (3, 5, 5)) -> None:
        super().__init__()
        self.function = function
        self.query, self.key, self.value = (nn.Linear(8, 12) for _ in range(3))
        self.bias = nn.Parameter(torch.zeros(bias))

    def forward(self, x: Tensor, asking: Tensor | None = None) -> Tensor:
        q, k, v = self.query(x if asking is None else asking), self.key(x), self.value(x)
        return self.function(by_head(q), by_head(k), by_head(v), self.bias)


def fused_view(program: Program) -> AttentionView:
    """The program's one attention; nothing of its parts is left."""
    left = set(operators(program))
    assert not left & {"aten.softmax.int", "aten.matmul.default", "aten.scaled_dot_product_attention.default"}
    (node,) = calls(program.module.graph, torch.ops.lwc.attention.default)
    return AttentionView.of(node)


SPELLINGS: dict[str, tuple[Callable[..., Tensor], float]] = {
    "scores times a scale": (lambda q, k, v, b: by_token(attend(q, k, v)), 0.4),
    "scores divided": (lambda q, k, v, b: by_token((q @ k.mT / 2.5).softmax(-1) @ v), 0.4),
    "no scale": (lambda q, k, v, b: by_token((q @ k.mT).softmax(-1) @ v), 1.0),
    "queries times a scale": (lambda q, k, v, b: by_token(((q * 0.4) @ k.mT).softmax(-1) @ v), 0.4),
    "queries and keys times a scale": (
        lambda q, k, v, b: by_token(((0.8 * q) @ (k.mT / 2)).softmax(-1) @ v),
        0.4,
    ),
    "keys times a scale, then transposed": (
        lambda q, k, v, b: by_token(((0.8 * q) @ (k / 2).mT).softmax(-1) @ v),
        0.4,
    ),
    "bias after the scale": (lambda q, k, v, b: by_token((q @ k.mT * 0.4 + b).softmax(-1) @ v), 0.4),
    "bias first": (lambda q, k, v, b: by_token((b + q @ k.mT).softmax(3) @ v), 1.0),
    "probabilities through dropout": (
        lambda q, k, v, b: by_token(functional.dropout((q @ k.mT).softmax(-1), 0.5, False) @ v),
        1.0,
    ),
    "one operator": (lambda q, k, v, b: by_token(functional.scaled_dot_product_attention(q, k, v)), 0.5),
    "one operator with its scale": (
        lambda q, k, v, b: by_token(functional.scaled_dot_product_attention(q, k, v, scale=0.4)),
        0.4,
    ),
    "one operator with a bias": (
        lambda q, k, v, b: by_token(functional.scaled_dot_product_attention(q, k, v, b)),
        0.5,
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_fuses(name: str, rng: torch.Generator) -> None:
    function, scale = SPELLINGS[name]
    after, record = rewrite(PASSES, program_of(Network(function), TOKENS, rng=rng), rng)
    assert record.count == 1
    assert set(operators(after)) == {"lwc.linear.default", "lwc.attention.default", "aten.reshape.default"}
    view = fused_view(after)
    assert view.scale == pytest.approx(scale, rel=1e-12)
    assert (view.bias is not None) == ("bias" in name)
    assert view.heads == 3
    assert view.query_heads == view.key_heads == view.value_heads == Heads(0, 4, 4)


def test_fuses_where_there_are_fewer_queries_than_keys(rng: torch.Generator) -> None:
    network = Network(lambda q, k, v, b: by_token((q @ k.mT + b).softmax(-1) @ v), bias=(3, 3, 5))
    after, record = rewrite(PASSES, program_of(network, TOKENS, FEWER, rng=rng), rng)
    assert record.count == 1
    assert fused_view(after).query is not fused_view(after).key


@pytest.mark.parametrize("shape", [(3, 5, 5), (1, 3, 5, 5), (1, 1, 5, 5), (5, 5), (3, 1, 5), (3, 5, 1), (5,)])
def test_a_bias_has_the_shape_of_the_scores(shape: tuple[int, ...], rng: torch.Generator) -> None:
    network = Network(lambda q, k, v, b: by_token((q @ k.mT + b).softmax(-1) @ v), bias=shape)
    after, record = rewrite(PASSES, program_of(network, TOKENS, rng=rng), rng)
    assert record.count == 1
    bias = fused_view(after).bias
    assert bias is not None
    assert bias.meta["val"].shape == (3, 5, 5)


def test_fuses_a_bias_that_is_computed(rng: torch.Generator) -> None:
    network = Network(lambda q, k, v, b: by_token((q @ k.mT + b * v.mean()).softmax(-1) @ v))
    after, record = rewrite(PASSES, program_of(network, TOKENS, rng=rng), rng)
    assert record.count == 1
    fused_view(after)


def test_a_result_that_stays_by_head_is_transposed(rng: torch.Generator) -> None:
    network = Network(lambda q, k, v, b: attend(q, k, v).tanh())
    after, record = rewrite(PASSES, program_of(network, TOKENS, rng=rng), rng)
    assert record.count == 1
    assert operators(after)[-2:] == ["aten.permute.default", "aten.tanh.default"]


# What one projection to 36 channels, by token, becomes: queries, keys, values; and where their heads lie.
ONE_PROJECTION: dict[str, tuple[Callable[[Tensor], Any], tuple[Heads, Heads, Heads]]] = {
    "a head's query, key and value together": (
        lambda x: [part.transpose(1, 2) for part in torch.split(x.view(2, 5, 3, 12), [3, 3, 6], 3)],
        (Heads(0, 12, 3), Heads(3, 12, 3), Heads(6, 12, 6)),
    ),
    "queries, then keys, then values": (
        lambda x: x.reshape(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0),
        (Heads(0, 4, 4), Heads(12, 4, 4), Heads(24, 4, 4)),
    ),
    "selected": (
        lambda x: [x.reshape(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)[i] for i in (2, 0, 1)],
        (Heads(24, 4, 4), Heads(0, 4, 4), Heads(12, 4, 4)),
    ),
    "chunks": (
        lambda x: [by_head(part) for part in x.chunk(3, -1)],
        (Heads(0, 4, 4), Heads(12, 4, 4), Heads(24, 4, 4)),
    ),
    "slices": (
        lambda x: [by_head(x[..., begin : begin + 6]) for begin in (1, 8, 15)],
        (Heads(1, 2, 2), Heads(8, 2, 2), Heads(15, 2, 2)),
    ),
    "through a flat matrix": (
        lambda x: [by_head(part.view(2, 5, 12)) for part in torch.split(x.view(10, 36), 12, 1)],
        (Heads(0, 4, 4), Heads(12, 4, 4), Heads(24, 4, 4)),
    ),
    "one head": (
        lambda x: [part.unsqueeze(1) for part in torch.split(x, [6, 6, 24], 2)],
        (Heads(0, 6, 6), Heads(6, 6, 6), Heads(12, 24, 24)),
    ),
}


@pytest.mark.parametrize("name", ONE_PROJECTION)
def test_reads_the_heads_of_one_projection(name: str, rng: torch.Generator) -> None:
    parts_of, where = ONE_PROJECTION[name]
    program = program_of(
        lambda layer, x: by_token(attend(*parts_of(layer(x)))), TOKENS, rng=rng, parts=(nn.Linear(8, 36),)
    )
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    view = fused_view(after)
    assert view.query is view.key is view.value
    assert view.query.target is torch.ops.lwc.linear.default
    assert (view.query_heads, view.key_heads, view.value_heads) == where
    assert "aten.permute.default" not in operators(after)


def test_the_activation_after_it_joins(rng: torch.Generator) -> None:
    network = Network(lambda q, k, v, b: functional.hardswish(by_token(attend(q, k, v))).clamp(max=0.1))
    after, record = rewrite(f"{PASSES},fuse-activation", program_of(network, TOKENS, rng=rng), rng)
    assert record.count == 2
    view = fused_view(after)
    assert (view.activation, view.minimum, view.maximum) == ("hardswish", None, 0.1)
