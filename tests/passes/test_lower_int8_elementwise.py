"""What stands between dequantization and quantization becomes `lwc::rescale`; what is in its way moves or goes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.ops.quantize import DTYPES
from lwc.ops.requantize import single
from lwc.pipeline import PassRecord, Pipeline, run_pipeline
from lwc.trace import Program
from tests.programs import operators, program_of, random_inputs, reasons, run

LWC: Any = torch.ops.lwc
SHAPE = (2, 6, 5, 4)
COARSE, FINE = (0.043, 128), (0.021, 90)
QUANTIZE, DEQUANTIZE, RESCALE = "lwc.quantize.default", "lwc.dequantize.default", "lwc.rescale.default"

Scale = tuple[float, int]
Function = Callable[..., Any]


def integers(x: torch.Tensor, how: Scale) -> torch.Tensor:
    return torch.as_tensor(LWC.quantize(x, single(1 / how[0]), how[1], "uint8"))


def real(q: torch.Tensor, how: Scale) -> torch.Tensor:
    return torch.as_tensor(LWC.dequantize(q, torch.tensor(how[0]), how[1]))


def rounded(x: torch.Tensor, how: Scale) -> torch.Tensor:
    return real(integers(x, how), how)


def lower(
    function: Function,
    rng: torch.Generator,
    inputs: int = 2,
    passes: str = "fold-constants,lower-int8-elementwise",
) -> tuple[Program, PassRecord]:
    """The program after the passes, which may have moved a number by one step, and few of them."""
    before = program_of(function, *[SHAPE] * inputs, rng=rng)
    after, records = run_pipeline(Pipeline.parse(passes), before)
    for _ in range(2):
        values = random_inputs((SHAPE,) * inputs, rng)
        (want,), (got,) = run(before, values), run(after, values)
        assert len(set(want.flatten().tolist())) > 30
        assert (want != got).double().mean() < 0.02
        assert (want - got).abs().max() <= 1.001 * COARSE[0]
    return after, records[-1]


LOWERED: dict[str, Function] = {
    "a sum": lambda x, y: rounded(rounded(x, COARSE) + rounded(y, FINE), COARSE),
    "a sum and a clamp": lambda x, y: rounded((rounded(x, FINE) + rounded(y, COARSE)).clamp(-1, 2), FINE),
    "a sum and a ReLU": lambda x, y: rounded(
        functional.relu(rounded(x, FINE) + rounded(y, FINE)), (0.017, 0)
    ),
    "a curve": lambda x, y: rounded(functional.hardswish(rounded(x + y, COARSE)), FINE),
    "a sigmoid and a clamp": lambda x, y: rounded(
        rounded(x + y, COARSE).sigmoid().clamp(max=0.7), (0.0041, 3)
    ),
    "another scale": lambda x, y: rounded(rounded(x + y, FINE), COARSE),
}


@pytest.mark.parametrize("name", LOWERED)
def test_lowers(name: str, rng: torch.Generator) -> None:
    after, record = lower(LOWERED[name], rng)
    assert record.count == 1
    names = operators(after)
    assert names[-2:] == [RESCALE, DEQUANTIZE]
    assert "aten.add.Tensor" not in names[names.index(QUANTIZE) :]


def test_the_same_scale_again_is_nothing(rng: torch.Generator) -> None:
    after, record = lower(lambda x, y: rounded(rounded(x + y, FINE), FINE), rng)
    assert record.count == 1
    assert operators(after) == ["aten.add.Tensor", QUANTIZE, DEQUANTIZE]


def test_each_reader_of_a_sum_has_its_own_scale(rng: torch.Generator) -> None:
    def function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        total = rounded(x, COARSE) + rounded(y, FINE)
        return torch.cat([rounded(total, COARSE), rounded(total, FINE)])

    after, record = lower(function, rng)
    assert record.count == 2
    assert operators(after).count(RESCALE) == 2


LEFT: dict[str, Function] = {
    "a real number in the sum": lambda x, y: rounded(rounded(x, COARSE) + y, FINE),
    "a multiple": lambda x, y: rounded(torch.add(rounded(x, COARSE), rounded(y, FINE), alpha=2), FINE),
    "a product": lambda x, y: rounded(rounded(x, COARSE) * rounded(y, FINE), FINE),
    "the tanh approximation": lambda x, y: rounded(
        functional.gelu(rounded(x + y, FINE), approximate="tanh"), COARSE
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_leaves(name: str, rng: torch.Generator) -> None:
    _, record = lower(LEFT[name], rng)
    assert (record.count, record.refusals) == (0, ())


REFUSED: dict[str, tuple[Function, str]] = {
    "broadcasting": (
        lambda x, y: rounded(rounded(x, COARSE) + rounded(y[:1], FINE), COARSE),
        "its operands broadcast",
    ),
    "reversed bounds": (
        lambda x, y: (
            rounded(rounded(x, COARSE).clamp(2, 1) * 1.0 + x + y, FINE)
            + rounded(rounded(y, FINE).clamp(2, 1), FINE)
        ),
        "its bounds are reversed, or not numbers",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, reason = REFUSED[name]
    _, record = lower(function, rng)
    assert (record.count, reasons(record)) == (0, [reason])


# Dequantization on its way to a reader.


def sink(function: Function, rng: torch.Generator) -> tuple[Program, PassRecord]:
    """The pass changes no bit."""
    before = program_of(function, SHAPE, SHAPE, rng=rng)
    after, (_, record) = run_pipeline(Pipeline.parse("fold-constants,sink-dequantize"), before)
    values = random_inputs((SHAPE, SHAPE), rng)
    assert all(map(torch.equal, run(before, values), run(after, values)))
    return after, record


def test_dequantization_moves_behind_what_moves(rng: torch.Generator) -> None:
    after, record = sink(lambda x, y: rounded(x, FINE).permute(0, 2, 3, 1)[:, 1:].exp() + y.sum(), rng)
    assert record.count == 2
    names = operators(after)
    assert names.index(DEQUANTIZE) == names.index("aten.exp.default") - 1


@pytest.mark.parametrize(("second", "count"), [(FINE, 1), (COARSE, 0)])
def test_what_is_joined_has_one_scale(second: Scale, count: int, rng: torch.Generator) -> None:
    after, record = sink(lambda x, y: torch.cat([rounded(x, FINE), rounded(y, second)], 1), rng)
    assert record.count == count
    assert reasons(record) == ([] if count else ["what it joins has several scales"])
    assert operators(after).count(DEQUANTIZE) == 2 - count


def test_a_reader_beside_the_move_keeps_its_own(rng: torch.Generator) -> None:
    after, _ = sink(lambda x, y: ((z := rounded(x, FINE)).permute(0, 1, 3, 2), z + y), rng)
    assert operators(after).count(DEQUANTIZE) == 2


# Integer weights that no layer takes.


class Weighted(nn.Module):
    """A layer whose weight is integers."""

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (3, 4), generator=rng).to(DTYPES["int8"]))
        self.register_buffer("scale", torch.rand(3, generator=rng))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A linear layer's result."""
        return functional.linear(x, LWC.dequantize_weight(self.weight, self.scale))


def test_constants_with_scales_are_not_folded_before_a_layer_had_them(rng: torch.Generator) -> None:
    program = program_of(Weighted(rng), SHAPE, rng=rng)
    folded, (record,) = run_pipeline(Pipeline.parse("fold-constants"), program)
    assert reasons(record) == ["layers may read its integers"]
    after, records = run_pipeline(Pipeline.parse("raise-operators,dequantize-weights"), folded)
    assert records[-1].count == 1
    assert operators(after) == ["lwc.linear.default"]
    assert torch.equal(run(after, program.inputs)[0], run(program, program.inputs)[0])
