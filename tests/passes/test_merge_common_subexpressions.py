"""merge-common-subexpressions: the same value is computed once, and only the same value."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import trace
from tests.programs import operators, program_of, reasons, rewrite

IMAGE = (2, 4, 6, 5)
PASS = "merge-common-subexpressions"

Function = Callable[..., Any]

# The function, and how many nodes go.
MERGED: dict[str, tuple[Function, int]] = {
    "one operator twice": (lambda x: torch.tanh(x) * torch.tanh(x).exp(), 1),
    "a chain twice": (lambda x: x.tanh().exp() - x.tanh().exp().sin(), 2),
    "three times": (lambda x: x.tanh() + x.tanh() * x.tanh(), 2),
    "numbers": (lambda x: (x + 3).tanh() * (x + 3), 1),
    "a default and the same number": (lambda x: torch.add(x, x, alpha=1).tanh() * torch.add(x, x), 1),
    "lists": (lambda x: x.permute(0, 2, 3, 1).tanh() + x.permute(0, 2, 3, 1), 1),
    "lists of tensors": (lambda x: torch.cat([x, x.sin()], 1).tanh() + torch.cat([x, x.sin()], 1), 2),
    "keywords": (
        lambda x: functional.gelu(x, approximate="tanh").sin() + functional.gelu(x, approximate="tanh"),
        1,
    ),
    "types": (lambda x: x.to(torch.float16).sin() + x.to(torch.float16), 1),
    "parts of one value": (lambda x: x.split(2, 1)[0] * x.split(2, 1)[0] + x.split(2, 1)[1].tanh(), 3),
    "the results": (lambda x: (x.tanh(), x.tanh()), 1),
}


@pytest.mark.parametrize("name", MERGED)
def test_merges(name: str, rng: torch.Generator) -> None:
    function, merged = MERGED[name]
    program = program_of(function, IMAGE, rng=rng)
    after, record = rewrite(PASS, program, rng)
    assert (record.count, record.refusals) == (merged, ())
    assert len(operators(after)) == len(operators(program)) - merged


# Each pair differs in one thing.
KEPT: dict[str, Function] = {
    "operators": lambda x: x.sin() + x.cos(),
    "operands": lambda x: (x - (y := x.abs())).sin() + (y - x),
    "numbers": lambda x: (x + 3).tanh() * (x + 4),
    "an integer and a float": lambda x: (x + 1).tanh() * (x + 1.0),
    "a truth value and an integer": lambda x: torch.ops.aten.add.Tensor(x, True).tanh() * (x + 1),
    "the sign of zero": lambda x: (x * 0.0 + x).tanh() + x * -0.0,
    "lists": lambda x: x.permute(0, 1, 3, 2).sum((2, 3)) + x.permute(1, 0, 3, 2).sum((2, 3)).mean(),
    "keywords": lambda x: functional.gelu(x, approximate="tanh") * functional.gelu(x),
    "types": lambda x: x.to(torch.float16).float() * x.to(torch.bfloat16).float(),
    "parts": lambda x: (y := x.split(2, 1))[0] * y[1],
}


@pytest.mark.parametrize("name", KEPT)
def test_keeps_what_differs(name: str, rng: torch.Generator) -> None:
    program = program_of(KEPT[name], IMAGE, rng=rng)
    after, record = rewrite(PASS, program, rng)
    assert (record.count, record.refusals) == (0, ())
    assert operators(after) == operators(program)


class Products(nn.Module):
    """x times each constant."""

    def __init__(self, *constants: torch.Tensor) -> None:
        super().__init__()
        for number, constant in enumerate(constants):
            self.register_buffer(f"c{number}", constant)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The products."""
        return tuple(x * constant for constant in self.buffers())


def count_with(*constants: torch.Tensor) -> int:
    """How often the pass merges the products of an input and each constant."""
    program = trace(Products(*constants), (torch.ones(2, 3),), ("x",))
    _, (record,) = run_pipeline(Pipeline.parse(PASS), program)
    assert record.refusals == ()
    return record.count


VALUES = torch.tensor([1.0, 0.0, float("nan")])


def test_constants_equal_bit_for_bit_are_the_same_operand() -> None:
    assert count_with(VALUES, VALUES.clone()) == 1
    assert count_with(torch.tensor(2.0), torch.tensor(2.0)) == 1
    assert count_with(torch.ones(2, 3), torch.zeros(2, 3), torch.ones(2, 3)) == 1


OTHERS = {
    "a value": torch.tensor([2.0, 0.0, float("nan")]),
    "the sign of zero": torch.tensor([1.0, -0.0, float("nan")]),
    "the dtype": VALUES.double(),
    "the shape": VALUES[None],
}


@pytest.mark.parametrize("name", OTHERS)
def test_constants_that_differ_are_not(name: str) -> None:
    assert count_with(VALUES, OTHERS[name]) == 0


def test_two_reads_of_one_weight_are_the_same_operand(rng: torch.Generator) -> None:
    layer = nn.Conv2d(4, 3, 3)
    program = program_of(lambda own, x: own(x).tanh() * own(x), IMAGE, rng=rng, parts=(layer,))
    after, record = rewrite(PASS, program, rng)
    assert record.count == 1
    assert operators(after).count("aten.conv2d.default") == 1


def test_copies_of_a_layer_are_one_and_other_weights_are_another(rng: torch.Generator) -> None:
    layers = nn.Conv2d(4, 3, 3), nn.Conv2d(4, 3, 3), nn.Conv2d(4, 3, 3)
    program = program_of(lambda a, b, c, x: a(x) * b(x).tanh() + c(x), IMAGE, rng=rng, parts=layers)
    module = program.module
    module.get_submodule("parts.1").load_state_dict(
        module.get_submodule("parts.0").state_dict(), strict=False
    )
    after, record = rewrite(PASS, program, rng)
    assert record.count == 1
    assert operators(after).count("aten.conv2d.default") == 2


def test_refuses_random_numbers(rng: torch.Generator) -> None:
    program = program_of(lambda x: (torch.rand_like(x), torch.rand_like(x)), IMAGE, rng=rng)
    after, (record,) = run_pipeline(Pipeline.parse(PASS), program)
    assert (record.count, reasons(record)) == (0, ["it is random"])
    first, second = after.module(*program.inputs)
    assert not torch.equal(first, second)


def test_keeps_what_reads_different_random_numbers(rng: torch.Generator) -> None:
    program = program_of(lambda x: torch.rand_like(x).tanh() - torch.rand_like(x).tanh(), IMAGE, rng=rng)
    _, (record,) = run_pipeline(Pipeline.parse(PASS), program)
    assert (record.count, reasons(record)) == (0, ["it is random"])


def test_a_second_run_finds_nothing(rng: torch.Generator) -> None:
    program = program_of(lambda x: x.tanh().exp() - x.tanh().exp().sin(), IMAGE, rng=rng)
    _, record = rewrite(f"{PASS},{PASS}", program, rng)
    assert (record.count, record.refusals) == (0, ())


TABLE = torch.arange(6.0).reshape(2, 3)


class Strided(nn.Module):
    """x times the elements of two equal tables, each in the order in which they lie in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", TABLE)
        self.register_buffer("columns", TABLE.t().contiguous().t())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The products, which differ."""
        return tuple(x * table.as_strided((6,), (1,)) for table in self.buffers())


def test_equal_constants_of_other_strides_are_not_the_same_operand(rng: torch.Generator) -> None:
    program = trace(Strided(), (torch.ones(6),), ("x",))
    _, record = rewrite("merge-common-subexpressions", program, rng)
    assert (record.count, record.refusals) == (0, ())
