"""merge-heads: what it leaves or refuses, and with which reason."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.ops import linear
from lwc.pipeline import Pipeline, run_pipeline
from tests.passes.test_merge_heads import AFFINE, HEADS, ROWS, Parts, Scaled
from tests.programs import Shape, operators, program_of, reasons, rewrite

PASSES = "raise-operators,merge-heads"


def given_weight(x: torch.Tensor, weight: torch.Tensor) -> Any:
    """The layer's weight is an input."""
    return linear(x, weight, None, None, "identity", None, None) / 2


def given_bias(own: nn.Linear, x: torch.Tensor, bias: torch.Tensor) -> Any:
    """The layer's bias is an input."""
    return linear(x, own.weight, bias, None, "identity", None, None) / 2


OTHER_USER = "a layer before it has another user"
ACTIVATION = "an activation stands between"
BROADCAST = "its operands broadcast to a larger shape"
NOT_BY_CHANNEL = "the constant is not by output channel"
NOT_CONSTANT = "a layer's weight or its bias is not a constant"
NOT_FINITE = "the merged weight or bias is not finite"
COST = "one layer takes more multiplications than the two"
REFUSED: dict[str, tuple[Any, Parts, tuple[Shape, ...], str]] = {
    "second user": (lambda own, x: ((y := own(x)) / 2, y), HEADS[:1], (ROWS,), OTHER_USER),
    "second user of a head": (lambda a, b, x: (a(x) + (y := b(x)), y), HEADS, (ROWS,), OTHER_USER),
    "second user in a row": (
        lambda a, b, x: (b(y := a(x)), y),
        (nn.Linear(4, 6), nn.Linear(6, 3)),
        (ROWS,),
        OTHER_USER,
    ),
    "activation": (lambda own, x: torch.tanh(own(x)) * 2, HEADS[:1], (ROWS,), ACTIVATION),
    "clamp": (lambda own, x: own(x).relu() + 1, HEADS[:1], (ROWS,), ACTIVATION),
    "activation of one head": (lambda a, b, x: a(x) + torch.tanh(b(x)), HEADS, (ROWS,), ACTIVATION),
    "different activations": (
        lambda a, b, x: a(x).relu() + functional.silu(b(x)),
        HEADS,
        (ROWS,),
        ACTIVATION,
    ),
    "one activation on both": (lambda a, b, x: a(x).relu() + b(x).relu(), HEADS, (ROWS,), ACTIVATION),
    "activation between layers": (
        lambda a, b, x: b(functional.gelu(a(x))),
        (nn.Linear(4, 6), nn.Linear(6, 3)),
        (ROWS,),
        ACTIVATION,
    ),
    "different inputs": (
        lambda a, b, x, z: a(x) + b(z),
        HEADS,
        (ROWS, ROWS),
        "the layers read different tensors",
    ),
    "one head of one output": (
        lambda a, b, x: a(x) + b(x),
        (nn.Linear(4, 6), nn.Linear(4, 1)),
        (ROWS,),
        BROADCAST,
    ),
    "more channels": (Scaled(AFFINE["times"], (3,), outputs=1), (), (ROWS,), BROADCAST),
    "more rows": (Scaled(AFFINE["plus"], (3, 1)), (), ((1, 4),), BROADCAST),
    "more axes": (Scaled(AFFINE["times"], (1, 1, 6)), (), (ROWS,), BROADCAST),
    "constant by row": (Scaled(AFFINE["times"], (5, 1)), (), (ROWS,), NOT_BY_CHANNEL),
    "constant by row and channel": (Scaled(AFFINE["plus"], (5, 6)), (), (ROWS,), NOT_BY_CHANNEL),
    "weight": (given_weight, (), (ROWS, (6, 4)), NOT_CONSTANT),
    "bias": (given_bias, HEADS[:1], (ROWS, (6,)), NOT_CONSTANT),
    "bottleneck": (
        lambda a, b, x: b(a(x)),
        (nn.Linear(4, 1), nn.Linear(1, 6)),
        (ROWS,),
        COST,
    ),
    "one multiplication more": (
        lambda a, b, x: b(a(x)),
        (nn.Linear(3, 2), nn.Linear(2, 7)),
        ((5, 3),),
        COST,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, parts, shapes, reason = REFUSED[name]
    program = program_of(function, *shapes, rng=rng, parts=parts)
    after, record = rewrite("raise-operators,fuse-activation,merge-heads", program, rng)
    assert record.count == 0
    assert reasons(record) == [reason]
    assert len(operators(after)) > 1


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 1e300])
def test_refuses_what_does_not_stay_finite(number: float, rng: torch.Generator) -> None:
    program = program_of(lambda own, x: own(x) * number, ROWS, rng=rng, parts=HEADS[:1])
    _, records = run_pipeline(Pipeline.parse(PASSES), program)
    assert (records[-1].count, reasons(records[-1])) == (0, [NOT_FINITE])


def test_refuses_a_division_by_zero(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: own(x) / 0, ROWS, rng=rng, parts=HEADS[:1])
    _, records = run_pipeline(Pipeline.parse(PASSES), program)
    assert (records[-1].count, reasons(records[-1])) == (0, [NOT_FINITE])


class Typed(nn.Module):
    """A linear layer, times a constant, each of its own type."""

    def __init__(self, layer: torch.dtype, value: torch.dtype) -> None:
        super().__init__()
        self.dtype = layer
        self.register_buffer("weight", torch.ones(6, 4, dtype=layer))
        self.register_buffer("value", torch.ones(6, dtype=value))

    def forward(self, x: torch.Tensor) -> Any:
        """The layer's multiple."""
        return linear(x.to(self.dtype), self.weight, None, None, "identity", None, None) * self.value


OTHER_TYPES: dict[str, tuple[torch.dtype, torch.dtype, str]] = {
    "integer": (torch.int64, torch.int64, "its result is torch.int64"),
    "half": (torch.float16, torch.float16, "its result is torch.float16"),
    "wider constant": (torch.float32, torch.float64, "its result is torch.float64"),
    "complex constant": (torch.float32, torch.complex64, "its result is torch.complex64"),
}


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_refuses_results_of_another_type(name: str, rng: torch.Generator) -> None:
    layer, value, reason = OTHER_TYPES[name]
    _, records = run_pipeline(Pipeline.parse(PASSES), program_of(Typed(layer, value), ROWS, rng=rng))
    assert (records[-1].count, reasons(records[-1])) == (0, [reason])


NO_CANDIDATES: dict[str, tuple[Any, Parts, tuple[Shape, ...]]] = {
    "a residual sum": (lambda own, x: own(x) + x, (nn.Linear(4, 4),), (ROWS,)),
    "a given scale": (lambda own, x, scale: own(x) * scale, HEADS[:1], (ROWS, (6,))),
    "a given divisor": (lambda own, x, scale: own(x) / (scale.abs() + 1), HEADS[:1], (ROWS, (6,))),
    "a product of layers": (lambda a, b, x: a(x) * b(x), HEADS, (ROWS,)),
    "a square": (lambda own, x: (y := own(x)) * y, HEADS[:1], (ROWS,)),
    "a reciprocal": (lambda own, x: 1 / own(x), HEADS[:1], (ROWS,)),
    "a constant by a layer": (lambda own, x: own.bias / own(x), HEADS[:1], (ROWS,)),
    "a rounded quotient": (lambda own, x: torch.div(own(x), 2, rounding_mode="floor"), HEADS[:1], (ROWS,)),
    "a reshape between": (lambda own, x: own(x).reshape(-1) * 2, HEADS[:1], (ROWS,)),
    "a convolution": (lambda own, x: own(x) * 2, (nn.Conv2d(4, 6, 1),), ((2, 4, 3, 3),)),
    "no layer": (lambda x: x * 2 + 1, (), (ROWS,)),
}


@pytest.mark.parametrize("name", NO_CANDIDATES)
def test_leaves_alone(name: str, rng: torch.Generator) -> None:
    function, parts, shapes = NO_CANDIDATES[name]
    _, record = rewrite(PASSES, program_of(function, *shapes, rng=rng, parts=parts), rng)
    assert (record.count, record.refusals) == (0, ())
