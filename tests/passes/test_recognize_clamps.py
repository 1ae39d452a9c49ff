"""recognize-clamps: a clamp in other words becomes ATen's clamp between numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls
from lwc.ops.view import named_arguments
from lwc.trace import Program
from tests.programs import operators, program_of, reasons, rewrite

IMAGE = (2, 4, 6, 5)
PASSES = "remove-identities,fold-constants,recognize-clamps"
aten = torch.ops.aten

Function = Callable[[torch.Tensor], Any]
NAN = float("nan")


def number(value: float) -> torch.Tensor:
    """A constant of one element."""
    return torch.tensor(value)


CLAMPS: dict[str, tuple[Function, tuple[float | None, float | None]]] = {
    "maximum": (lambda x: torch.maximum(x, number(-0.5)), (-0.5, None)),
    "maximum, the constant first": (lambda x: torch.maximum(number(-0.5), x), (-0.5, None)),
    "minimum": (lambda x: torch.minimum(x, number(0.5)), (None, 0.5)),
    "minimum, the constant first": (lambda x: torch.minimum(number(0.5), x), (None, 0.5)),
    "a negative upper bound": (lambda x: torch.minimum(x, number(-0.5)), (None, -0.5)),
    "a full tensor": (lambda x: torch.maximum(x, torch.full((), 0.25)), (0.25, None)),
    "a row of one value": (lambda x: torch.maximum(x, torch.zeros(5)), (0.0, None)),
    "clamp with tensors": (lambda x: torch.clamp(x, number(0.0), number(0.5)), (0.0, 0.5)),
    "clamp with a tensor below": (lambda x: torch.clamp(x, min=torch.zeros(1)), (0.0, None)),
    "clamp with a tensor above": (lambda x: torch.clamp(x, max=torch.ones(1, 1)), (None, 1.0)),
    "clamp with reversed tensors": (lambda x: torch.clamp(x, number(0.5), number(0.25)), (0.5, 0.25)),
    "clamp_min": (lambda x: torch.clamp_min(x, number(0.25)), (0.25, None)),
    "clamp_max": (lambda x: torch.clamp_max(x, number(0.25)), (None, 0.25)),
    "clamp_max between numbers": (lambda x: x.clamp_max(0.25), (None, 0.25)),
    "relu6 as two": (lambda x: torch.minimum(torch.maximum(x, number(0)), number(6)), (0.0, 6.0)),
    "relu6 as two, the upper bound first": (
        lambda x: torch.maximum(number(0), torch.minimum(number(6), x)),
        (0.0, 6.0),
    ),
    "relu6 of relu": (lambda x: torch.relu(x).clamp(max=6), (0.0, 6.0)),
    "clamps from one side": (lambda x: x.clamp_max(0.5).clamp_min(-0.5), (-0.5, 0.5)),
}


def bounds(program: Program) -> tuple[float | None, float | None]:
    """The bounds of the program's one clamp between numbers."""
    (clamp,) = calls(program.module.graph, aten.clamp.default)
    values = named_arguments(clamp)
    return values["min"], values["max"]


@pytest.mark.parametrize("name", CLAMPS)
def test_becomes_one_clamp(name: str, rng: torch.Generator) -> None:
    function, want = CLAMPS[name]
    after, record = rewrite(PASSES, program_of(function, IMAGE, rng=rng), rng)
    assert record.count > 0
    assert record.refusals == ()
    assert operators(after) == ["aten.clamp.default"]
    assert bounds(after) == want


REFUSED: dict[str, tuple[Function, str]] = {
    "a bound for each channel": (
        lambda x: torch.maximum(x, torch.arange(4.0).reshape(4, 1, 1)),
        "its bound has several values",
    ),
    "one bound for each channel, one of one value": (
        lambda x: torch.clamp(x, number(-1.0), torch.arange(5.0)),
        "its bound has several values",
    ),
    "a bound of more axes": (
        lambda x: torch.maximum(x, torch.zeros(1, 1, 1, 1, 1)),
        "its bound changes the shape or the dtype",
    ),
    "a bound of a wider type": (
        lambda x: torch.maximum(x.to(torch.bfloat16), torch.zeros(1)),
        "its bound changes the shape or the dtype",
    ),
    "integers": (
        lambda x: torch.maximum(x.to(torch.int32), number(0).to(torch.int32)) + x,
        "its operand is not of floating point",
    ),
    "maximum with a bound that is not a number": (
        lambda x: torch.maximum(x, number(NAN)).isnan() * 1.0,
        "a bound is not a number",
    ),
    "clamp with bounds that are not numbers": (
        lambda x: torch.clamp(x, torch.full((3, 1, 1, 1, 1), NAN)[0, 0], number(1.0)).isnan() * 1.0,
        "a bound is not a number",
    ),
    "two clamps of which one is read elsewhere": (
        lambda x: (y := x.relu()).clamp(max=0.5) * y,
        "the clamp before it has another user",
    ),
    "reversed bounds, the lower first": (
        lambda x: x.clamp_min(2.0).clamp(max=1.0),
        "its bounds are reversed",
    ),
    "reversed bounds, the upper first": (
        lambda x: x.clamp(max=1.0).clamp_min(2.0),
        "its bounds are reversed",
    ),
    "two clamps with a bound that is not a number": (
        lambda x: x.clamp(max=1.0).clamp_min(NAN).isnan() * 1.0,
        "a bound is not a number",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, reason = REFUSED[name]
    program = program_of(function, IMAGE, rng=rng)
    _, record = rewrite(PASSES, program, rng)
    assert (record.count, reasons(record)) == (0, [reason])


NO_CANDIDATES: dict[str, Function] = {
    "a bound that is computed": lambda x: torch.maximum(x, x.mean()),
    "a clamp with a bound that is computed": lambda x: torch.clamp(x, number(0.0), x.mean()),
    "a clamp between numbers": lambda x: x.clamp(-1, 1),
    "relu after relu6": lambda x: functional.relu6(x).relu(),
    "two lower bounds": lambda x: x.clamp_min(-1).relu(),
    "a curve between two clamps": lambda x: x.relu().sin().clamp(max=0.5),
}


@pytest.mark.parametrize("name", NO_CANDIDATES)
def test_leaves(name: str, rng: torch.Generator) -> None:
    _, record = rewrite(PASSES, program_of(NO_CANDIDATES[name], IMAGE, rng=rng), rng)
    assert (record.count, record.refusals) == (0, ())


def test_a_layer_clamps_at_its_end(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: torch.minimum(torch.maximum(own(x), number(0.0)), number(6.0)),
        IMAGE,
        rng=rng,
        parts=(nn.Conv2d(4, 6, 3),),
    )
    after, record = rewrite(f"{PASSES},raise-operators,fuse-activation", program, rng)
    assert record.count == 1
    assert operators(after) == ["lwc.conv2d.default"]
