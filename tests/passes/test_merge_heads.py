"""merge-heads: linear layers with only sums, scales and shifts between and after them become one."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls, constant
from lwc.ops import LinearView
from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import Program
from tests.programs import Shape, operators, program_of, rewrite

ROWS, TOKENS = (5, 4), (2, 5, 4)
PASSES = "raise-operators,merge-heads"
ONE = ["lwc.linear.default"]

Parts = tuple[nn.Module, ...]
HEADS: Parts = (nn.Linear(4, 6), nn.Linear(4, 6))

SUMS: dict[str, Any] = {
    "sum": lambda a, b, x: a(x) + b(x),
    "difference": lambda a, b, x: a(x) - b(x),
    "average": lambda a, b, x: (a(x) + b(x)) / 2,
    "weighted": lambda a, b, x: 0.3 * a(x) + b(x) * 0.7,
    "multiple added": lambda a, b, x: torch.add(a(x), b(x), alpha=3),
    "multiple subtracted": lambda a, b, x: torch.sub(a(x), b(x), alpha=0.5),
    "three": lambda a, b, x: (a(x) + b(x) + a(x)) / 3,
    "one layer twice": lambda a, b, x: (y := a(x)) + y,
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("shape", [TOKENS, (4,)])
def test_merges_layers_that_are_added(name: str, shape: Shape, rng: torch.Generator) -> None:
    after, record = rewrite(PASSES, program_of(SUMS[name], shape, rng=rng, parts=HEADS), rng)
    assert record.count >= 1
    assert operators(after) == ONE


def test_merges_layers_without_a_bias(rng: torch.Generator) -> None:
    parts = (nn.Linear(4, 6, bias=False), nn.Linear(4, 6, bias=False))
    after, record = rewrite(PASSES, program_of(SUMS["average"], ROWS, rng=rng, parts=parts), rng)
    assert record.count == 2
    (layer,) = calls(after.module.graph, torch.ops.lwc.linear.default)
    assert LinearView.of(layer).bias is None


def test_merges_a_layer_without_a_bias_into_one_with(rng: torch.Generator) -> None:
    parts = (nn.Linear(4, 6, bias=False), nn.Linear(4, 6))
    after, record = rewrite(PASSES, program_of(SUMS["average"], ROWS, rng=rng, parts=parts), rng)
    assert record.count == 2
    assert operators(after) == ONE


class Scaled(nn.Module):
    """`function(layer(x), value)`, with a constant `value`."""

    def __init__(self, function: Any, shape: Shape, outputs: int = 6) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(4, outputs), function
        self.value = nn.Parameter(torch.empty(shape))

    def forward(self, x: torch.Tensor) -> Any:
        """The function's value."""
        return self.function(self.layer(x), self.value)


AFFINE: dict[str, Any] = {
    "times": lambda y, value: y * value,
    "times, constant first": lambda y, value: value * y,
    "by": lambda y, value: y / (value * value + 1),
    "plus": lambda y, value: y + value,
    "plus, constant first": lambda y, value: value + y,
    "plus a multiple": lambda y, value: torch.add(y, value, alpha=3),
    "multiple added to a constant": lambda y, value: torch.add(value, y, alpha=3),
    "minus": lambda y, value: y - value,
    "from": lambda y, value: value - y,
    "times and plus": lambda y, value: y * value + value,
}
FOLD = "fold-constants,raise-operators,merge-heads"


@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.parametrize("shape", [(), (6,), (1, 6)])
def test_merges_a_constant_by_channel(name: str, shape: Shape, rng: torch.Generator) -> None:
    after, record = rewrite(FOLD, program_of(Scaled(AFFINE[name], shape), ROWS, rng=rng), rng)
    assert record.count >= 1
    assert operators(after) == ONE


@pytest.mark.parametrize("value", [3, -0.1])
@pytest.mark.parametrize("name", [*AFFINE, "multiple from"])
def test_merges_a_number(name: str, value: float, rng: torch.Generator) -> None:
    functions = {**AFFINE, "multiple from": lambda y, value: torch.rsub(y, value, alpha=3)}
    functions["multiple added to a constant"] = lambda y, value: torch.sub(y, value, alpha=3)
    program = program_of(lambda own, x: functions[name](own(x), value), TOKENS, rng=rng, parts=HEADS[:1])
    after, record = rewrite(PASSES, program, rng)
    assert record.count >= 1
    assert operators(after) == ONE


def test_a_large_shift_leaves_the_weight_exact(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: (own(x) + 1e6) - 1e6, ROWS, rng=rng, parts=HEADS[:1])
    after, records = run_pipeline(Pipeline.parse(PASSES), program)
    assert records[-1].count == 2
    before, _ = run_pipeline(Pipeline.parse("raise-operators"), program)
    assert torch.equal(layer_weight(after), layer_weight(before))


def layer_weight(program: Program) -> torch.Tensor:
    """The weight of the program's one layer."""
    (layer,) = calls(program.module.graph, torch.ops.lwc.linear.default)
    weight = constant(program.module, LinearView.of(layer).weight)
    assert weight is not None
    return weight


CHAINS: dict[str, Parts] = {
    "bottleneck out": (nn.Linear(4, 6), nn.Linear(6, 3)),
    "equal": (nn.Linear(4, 4), nn.Linear(4, 4)),
    "as many multiplications": (nn.Linear(4, 2), nn.Linear(2, 4)),
    "without biases": (nn.Linear(4, 6, bias=False), nn.Linear(6, 3, bias=False)),
    "bias of the first": (nn.Linear(4, 6), nn.Linear(6, 3, bias=False)),
    "bias of the second": (nn.Linear(4, 6, bias=False), nn.Linear(6, 3)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_merges_a_layer_into_the_next(name: str, rng: torch.Generator) -> None:
    after, record = rewrite(PASSES, program_of(nn.Sequential(*CHAINS[name]), TOKENS, rng=rng), rng)
    assert record.count == 1
    assert operators(after) == ONE


def test_the_last_layers_activation_stays(rng: torch.Generator) -> None:
    layers = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3), nn.SiLU())
    passes = "raise-operators,fuse-activation,merge-heads"
    after, record = rewrite(passes, program_of(layers, ROWS, rng=rng), rng)
    assert record.count == 1
    assert operators(after) == ONE


def test_merges_three_layers_and_what_stands_between(rng: torch.Generator) -> None:
    def function(a: nn.Module, b: nn.Module, c: nn.Module, x: torch.Tensor) -> Any:
        return c(2 * b(a(x) / 3 + 1)) - 4

    parts = (nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3))
    after, record = rewrite(PASSES, program_of(function, ROWS, rng=rng, parts=parts), rng)
    assert record.count == 6
    assert operators(after) == ONE


def test_merges_a_layer_into_two_heads_once_they_are_one(rng: torch.Generator) -> None:
    def function(a: nn.Module, b: nn.Module, c: nn.Module, x: torch.Tensor) -> Any:
        y = a(x)
        return (b(y) + c(y)) / 2

    parts = (nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 3))
    after, record = rewrite(PASSES, program_of(function, ROWS, rng=rng, parts=parts), rng)
    assert record.count == 3
    assert operators(after) == ONE


def test_a_weight_of_two_layers_is_left_to_the_other(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: (own(x) / 2, own(x + 1)), ROWS, rng=rng, parts=HEADS[:1])
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert "aten.div.Tensor" not in operators(after)


def test_two_heads_after_batch_norms_are_one_layer(rng: torch.Generator) -> None:
    def levit(norm: nn.Module, own: nn.Module, norm2: nn.Module, own2: nn.Module, x: torch.Tensor) -> Any:
        return (own(norm(x)) + own2(norm2(x))) / 2

    parts = (nn.BatchNorm1d(4), nn.Linear(4, 6), nn.BatchNorm1d(4), nn.Linear(4, 6))
    after, _ = rewrite("default", program_of(levit, ROWS, rng=rng, parts=parts), rng)
    assert operators(after) == ONE


def test_a_hardsigmoid_stays_recognisable(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: functional.relu6(own(x) + 3) / 6, ROWS, rng=rng, parts=HEADS[:1])
    after, _ = rewrite("default", program, rng)
    assert operators(after) == ONE
