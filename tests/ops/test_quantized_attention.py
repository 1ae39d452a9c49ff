"""Attention on integers in PyTorch: near that on real numbers, exact where softmax is, and registered soundly."""

from typing import Any

import pytest
import torch

from lwc.ops import attention, qattention

HEADS, SIZE, VALUE_SIZE = 3, 16, 20
BATCH, QUERIES, KEYS = 2, 11, 30
PLACES = ([0, SIZE, SIZE], [0, SIZE, SIZE], [HEADS * SIZE, VALUE_SIZE, VALUE_SIZE])
CHANNELS = HEADS * (SIZE + VALUE_SIZE)
# Least signal to noise: of bytes with a scale for a whole tensor.
LEAST_DB = 30.0
MIDDLE = {"uint8": 128, "int8": 0}
REAL = ("identity", 1.0, None, None, None)


def to_bytes(x: torch.Tensor, scale: float, dtype: str) -> torch.Tensor:
    """Symmetric: the middle of the type is 0."""
    return ((x / scale).round().clamp(-127, 127) + MIDDLE[dtype]).to(getattr(torch, dtype))


def operands(dtype: str, rng: torch.Generator) -> tuple[Any, ...]:
    """Real queries and keys with values, their bytes, and a bias."""
    query = torch.randn((BATCH, QUERIES, HEADS * SIZE), generator=rng)
    tokens = torch.randn((BATCH, KEYS, CHANNELS), generator=rng)
    bias = torch.randn((HEADS, QUERIES, KEYS), generator=rng)
    return query, tokens, to_bytes(query, 1 / 32, dtype), to_bytes(tokens, 1 / 32, dtype), bias


@pytest.mark.parametrize("dtype", MIDDLE)
@pytest.mark.parametrize("biased", [True, False])
def test_near_attention_on_real_numbers(dtype: str, biased: bool, rng: torch.Generator) -> None:
    query, tokens, q, kv, bias = operands(dtype, rng)
    bias = bias if biased else None
    scale = SIZE**-0.5
    want = attention(query, tokens, tokens, bias, HEADS, *PLACES, scale, "identity", None, None)
    multiplier = torch.full((HEADS,), scale / 32**2)
    got = qattention(
        q, kv, kv, bias, multiplier, torch.full((HEADS * VALUE_SIZE,), 1 / 32), HEADS, *PLACES, *REAL
    )
    decibel = 10 * torch.log10(want.var() / (got - want).square().mean())
    assert decibel > LEAST_DB


@pytest.mark.parametrize("dtype", MIDDLE)
def test_equal_scores_give_the_mean(dtype: str, rng: torch.Generator) -> None:
    _, _, q, kv, _ = operands(dtype, rng)
    multiplier = torch.zeros(HEADS)
    got = qattention(q, kv, kv, None, multiplier, torch.ones(HEADS * VALUE_SIZE), HEADS, *PLACES, *REAL)
    sums = (kv[..., HEADS * SIZE :].int() - MIDDLE[dtype]).sum(1, keepdim=True)
    want = (255 * sums).float() / (255 * KEYS)
    assert torch.equal(got, want.expand_as(got))


def test_a_constant_added_to_keys_changes_nothing(rng: torch.Generator) -> None:
    _, _, q, kv, _ = operands("uint8", rng)
    keys = kv.clamp(60, 190)
    constants = (torch.full((HEADS,), 1 / 2048), torch.ones(HEADS * VALUE_SIZE))
    first, second = (qattention(q, k, kv, None, *constants, HEADS, *PLACES, *REAL) for k in (keys, keys + 50))
    # Powers of two: the scores are exact.
    assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", MIDDLE)
@pytest.mark.parametrize("is_float", [True, False])
def test_registered_soundly(dtype: str, is_float: bool, rng: torch.Generator) -> None:
    _, _, q, kv, bias = operands(dtype, rng)

    end = REAL if is_float else ("hardswish", 20.0, -128.0, 127.0, MIDDLE[dtype])
    constants = (torch.full((HEADS,), 1 / 4096), torch.full((HEADS * VALUE_SIZE,), 1 / 32))
    arguments = (q, kv, kv, bias, *constants, HEADS, *PLACES, *end)
    torch.library.opcheck(torch.ops.lwc.qattention.default, arguments)
    result = qattention(*arguments)
    assert result.shape == (BATCH, QUERIES, HEADS * VALUE_SIZE)
    assert result.dtype == (torch.float32 if is_float else q.dtype)
