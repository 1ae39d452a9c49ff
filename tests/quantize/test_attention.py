"""Attention in INT8: on integers where plain linear layers feed it alone, with scales for each head and channel."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls, constant
from lwc.ops import QuantizedAttentionView
from lwc.quantize.data import CalibrationData
from lwc.quantize.layers import rounded_layers
from lwc.quantizing import Quantized, has_float_steps, to_integers, with_float_layers
from tests.programs import operators
from tests.quantize.nets import integers, rewritten, samples_of

TOKENS, CHANNELS, HEADS = 9, 16, 2
SHAPE = (1, TOKENS, CHANNELS)
QATTENTION: Any = torch.ops.lwc.qattention.default

Function = Callable[[torch.Tensor], torch.Tensor]


class Attending(nn.Module):
    """Self-attention of two heads on one linear layer's q, k and v; q is `spread` times as large, k as much smaller."""

    factors: torch.Tensor

    def __init__(self, spread: float = 1.0, between: Function | None = None) -> None:
        super().__init__()
        self.between = between
        factors = torch.tensor([spread, 1 / spread, 1.0]).repeat_interleave(CHANNELS)
        self.register_buffer("factors", factors.reshape(-1, 1))
        self.parts, self.last = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (1, TOKENS, CHANNELS)."""
        weight, bias = self.parts.weight * self.factors, self.parts.bias * self.factors[:, 0]
        tokens = functional.linear(x, weight, bias)
        if self.between is not None:
            tokens = self.between(tokens)
        q, k, v = (part.reshape(1, TOKENS, HEADS, -1).transpose(1, 2) for part in tokens.chunk(3, dim=-1))
        y = functional.scaled_dot_product_attention(q, k, v)
        return torch.as_tensor(self.last(y.transpose(1, 2).reshape(SHAPE)))


def on_integers(net: nn.Module, rng: torch.Generator) -> Quantized:
    program = rewritten(net, SHAPE, rng)
    return integers(program, samples_of(program, rng))


@pytest.mark.parametrize("spread", [1.0, 1000.0])
def test_each_part_has_a_scale_of_its_own(spread: float, rng: torch.Generator) -> None:
    found = on_integers(Attending(spread), rng)
    (node,) = calls(found.integer.module.graph, QATTENTION)
    assert found.quantization.float_layers == 0
    assert not has_float_steps(found.integer)
    # q, k and v are of one layer.
    view = QuantizedAttentionView.of(node)
    assert view.query is view.key is view.value
    scales = constant(found.integer.module, view.multiplier)
    assert scales is not None
    assert scales.shape == (HEADS,)
    (ratio,) = found.quantization.signal_to_noise_db
    assert ratio is not None
    assert ratio > 20


def test_its_layer_may_go_back_to_float32(rng: torch.Generator) -> None:
    program = rewritten(Attending(), SHAPE, rng)
    data = CalibrationData(samples_of(program, rng), "noise")
    found = to_integers(program, data, lambda text: None)
    first, *_ = rounded_layers(found.rounded)
    mixed = with_float_layers(found, [first], data)
    assert operators(mixed.integer)[:2] == ["lwc.linear.default", "lwc.quantize_channels.default"]
    (ratio,) = mixed.quantization.signal_to_noise_db
    assert ratio is not None
    assert ratio > 20


def test_it_stays_in_float32_where_its_layer_has_an_activation(rng: torch.Generator) -> None:
    found = on_integers(Attending(between=functional.relu), rng)
    assert not list(calls(found.integer.module.graph, QATTENTION))
    assert found.quantization.float_layers == 1
    assert has_float_steps(found.integer)


def test_it_stays_in_float32_where_its_sums_would_leave_32_bits(
    rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lwc.quantize.attention_rules.MOST_KEYS", TOKENS - 1)
    found = on_integers(Attending(), rng)
    assert not list(calls(found.integer.module.graph, QATTENTION))
