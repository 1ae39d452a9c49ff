"""recognize-activations: what is spelled out in parts becomes ATen's own activation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.programs import operators, program_of, reasons, rewrite

IMAGE = (2, 4, 6, 5)
BEFORE = "remove-identities,fold-constants,merge-common-subexpressions,recognize-clamps"
PASSES = f"{BEFORE},recognize-activations"

Function = Callable[[torch.Tensor], Any]


def relu6(x: torch.Tensor) -> torch.Tensor:
    """ATen's."""
    return functional.relu6(x)


SPELLED_OUT: dict[str, tuple[Function, str]] = {
    "hardsigmoid": (lambda x: relu6(x + 3) / 6, "hardsigmoid"),
    "hardsigmoid of floats": (lambda x: relu6(3.0 + x) / 6.0, "hardsigmoid"),
    "hardsigmoid times a sixth": (lambda x: (1 / 6) * relu6(x + 3), "hardsigmoid"),
    "hardsigmoid with clamp": (lambda x: (x + 3).clamp(0, 6) / 6, "hardsigmoid"),
    "hardsigmoid with hardtanh": (lambda x: functional.hardtanh(x + 3, 0, 6) / 6, "hardsigmoid"),
    "hardsigmoid with a minimum": (
        lambda x: torch.minimum((x + 3).relu(), torch.tensor(6.0)) / 6,
        "hardsigmoid",
    ),
    "hardsigmoid of constant tensors": (
        lambda x: relu6(torch.tensor(3.0) + x) / torch.tensor(6.0),
        "hardsigmoid",
    ),
    "hardswish": (lambda x: x * relu6(x + 3) / 6, "hardswish"),
    "hardswish, its ramp first": (lambda x: relu6(x + 3) * x / 6, "hardswish"),
    "hardswish times a sixth": (lambda x: x * relu6(x + 3) * (1 / 6), "hardswish"),
    "hardswish in parentheses": (lambda x: x * (relu6(x + 3) / 6), "hardswish"),
    "x times hardsigmoid": (lambda x: x * functional.hardsigmoid(x), "hardswish"),
    "hardsigmoid times x": (lambda x: functional.hardsigmoid(x) * x, "hardswish"),
    "x times sigmoid": (lambda x: x * torch.sigmoid(x), "silu"),
    "sigmoid times x": (lambda x: torch.sigmoid(x) * x, "silu"),
}


@pytest.mark.parametrize("name", SPELLED_OUT)
def test_becomes_one_operator(name: str, rng: torch.Generator) -> None:
    function, activation = SPELLED_OUT[name]
    after, record = rewrite(PASSES, program_of(function, IMAGE, rng=rng), rng)
    assert record.count > 0
    assert record.refusals == ()
    assert operators(after) == [f"aten.{activation}.default"]


@pytest.mark.parametrize("name", SPELLED_OUT)
def test_joins_the_layer_before_it(name: str, rng: torch.Generator) -> None:
    function, _ = SPELLED_OUT[name]
    program = program_of(lambda own, x: function(own(x)), IMAGE, rng=rng, parts=(nn.Conv2d(4, 6, 3),))
    after, record = rewrite(f"{PASSES},raise-operators,fuse-activation", program, rng)
    assert (record.count, record.refusals) == (1, ())
    assert operators(after) == ["lwc.conv2d.default"]


def test_the_parts_stay_for_other_users(rng: torch.Generator) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(x)
        return (x * gate).sin() + gate

    after, record = rewrite(PASSES, program_of(function, IMAGE, rng=rng), rng)
    assert record.count == 1
    assert sorted(operators(after)) == [
        "aten.add.Tensor",
        "aten.sigmoid.default",
        "aten.silu.default",
        "aten.sin.default",
    ]


OTHERS: dict[str, Function] = {
    "another shift": lambda x: relu6(x + 2) / 6,
    "a scaled shift": lambda x: relu6(torch.add(x, 3, alpha=2)) / 6,
    "another divisor": lambda x: relu6(x + 3) / 5,
    "another factor": lambda x: relu6(x + 3) * 0.16,
    "a division that rounds": lambda x: torch.div(relu6(x + 3), 6, rounding_mode="floor") + x,
    "relu for relu6": lambda x: torch.relu(x + 3) / 6,
    "another upper bound": lambda x: (x + 3).clamp(0, 5) / 6,
    "a sum of two tensors": lambda x: relu6(x + x.sin()) / 6,
    "a shift by channel": lambda x: relu6(x + torch.arange(5.0)) / 6,
    "a divisor by channel": lambda x: relu6(x + 3) / torch.arange(1.0, 6.0),
    "a gate of another tensor": lambda x: x * torch.sigmoid(x.sin()),
    "a ramp of another tensor": lambda x: x.sin() * relu6(x + 3) / 6,
    "a square": lambda x: torch.sigmoid(x) * torch.sigmoid(x),
    "a sum": lambda x: x + torch.sigmoid(x),
}


@pytest.mark.parametrize("name", OTHERS)
def test_leaves_other_expressions(name: str, rng: torch.Generator) -> None:
    _, record = rewrite(PASSES, program_of(OTHERS[name], IMAGE, rng=rng), rng)
    assert (record.count, record.refusals) == (0, ())


INTEGERS = "its operand is not of floating point"
CHANGES = "its constants change the shape or the dtype"
REFUSED: dict[str, tuple[Function, str]] = {
    "a gate of integers": (lambda x: (y := (3 * x).to(torch.int32)) * torch.sigmoid(y), INTEGERS),
    "a ramp of integers": (lambda x: ((3 * x).to(torch.int32) + 3).clamp(0, 6) / 6, INTEGERS),
    "a divisor of more axes": (lambda x: relu6(x + 3) / torch.full((1, 1, 1, 1, 1), 6.0), CHANGES),
    "a shift of a wider type": (lambda x: relu6(x.to(torch.bfloat16) + torch.full((1,), 3.0)) / 6, CHANGES),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, reason = REFUSED[name]
    _, record = rewrite(PASSES, program_of(function, IMAGE, rng=rng), rng)
    assert (record.count, reasons(record)) == (0, [reason])
