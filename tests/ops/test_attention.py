"""lwc's attention: equal to PyTorch's on heads that are cut out of the token matrices, and registered soundly."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from lwc.ops import Heads, attention

# Heads, where queries, keys and values lie, and the channels of the three token matrices.
LAYOUTS: dict[str, tuple[int, tuple[Heads, Heads, Heads], tuple[int, int, int]]] = {
    "three projections": (3, (Heads(0, 4, 4), Heads(0, 4, 4), Heads(0, 4, 4)), (12, 12, 12)),
    "a head's query, key and value together": (
        3,
        (Heads(0, 16, 4), Heads(4, 16, 4), Heads(8, 16, 8)),
        (48, 48, 48),
    ),
    "queries, then keys, then values": (
        3,
        (Heads(0, 4, 4), Heads(12, 4, 4), Heads(24, 8, 8)),
        (48, 48, 48),
    ),
    "gaps": (2, (Heads(1, 7, 3), Heads(2, 5, 3), Heads(0, 9, 5)), (12, 11, 14)),
    "one head": (1, (Heads(2, 4, 4), Heads(0, 4, 4), Heads(3, 2, 2)), (7, 5, 6)),
    "overlapping heads": (3, (Heads(0, 4, 4), Heads(0, 2, 4), Heads(1, 1, 5)), (12, 8, 8)),
}


def operands(name: str, rng: torch.Generator, with_bias: bool = True) -> tuple[Any, ...]:
    """The operator's arguments in float64, for five queries and seven keys in two images."""
    heads, where, channels = LAYOUTS[name]
    query, key, value = (
        torch.randn(2, tokens, c, generator=rng).double()
        for tokens, c in zip((5, 7, 7), channels, strict=True)
    )
    bias = torch.randn(heads, 5, 7, generator=rng).double() if with_bias else None
    return (query, key, value, bias, heads, *map(list, where), 0.3, "hardswish", -0.2, 0.4)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_attention(name: str, with_bias: bool, rng: torch.Generator) -> None:
    arguments = operands(name, rng, with_bias)
    heads, where, _ = LAYOUTS[name]
    columns: list[torch.Tensor] = []
    for h in range(heads):
        q, k, v = (
            x[..., o + h * stride : o + h * stride + size]
            for x, (o, stride, size) in zip(arguments[:3], where, strict=True)
        )
        mask = None if arguments[3] is None else arguments[3][h]
        columns.append(functional.scaled_dot_product_attention(q, k, v, mask, scale=0.3))
    want = functional.hardswish(torch.cat(columns, -1)).clamp(-0.2, 0.4)
    got = attention(*arguments)
    assert got.is_contiguous()
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LAYOUTS)
def test_attention_is_registered_soundly(name: str, rng: torch.Generator) -> None:
    """Among others, that the shape that it claims is the one that it gives."""
    torch.library.opcheck(attention, operands(name, rng), test_utils=("test_schema", "test_faketensor"))
