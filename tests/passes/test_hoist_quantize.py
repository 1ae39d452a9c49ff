"""hoist-quantize: quantization moves up, through what only moves elements."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lwc.ops import QuantizeView
from lwc.pipeline import PassRecord, Pipeline, run_pipeline
from lwc.trace import Program
from tests.programs import operators, program_of, random_inputs, reasons, run

SHAPE = (2, 6, 4)
QUANTIZE, DEQUANTIZE = "lwc.quantize.default", "lwc.dequantize.default"
CAT, PERMUTE, EXP = "aten.cat.default", "aten.permute.default", "aten.exp.default"

Function = Callable[..., Any]
LWC: Any = torch.ops.lwc


def rounded(x: torch.Tensor, inverse_scale: float = 31.5, zero_point: int = 120) -> torch.Tensor:
    """x to integers and back, the scale in the graph."""
    integers = LWC.quantize(x, inverse_scale, zero_point, "uint8")
    return torch.as_tensor(LWC.dequantize(integers, torch.full((1,), 1 / inverse_scale), zero_point))


def hoist(function: Function, rng: torch.Generator, inputs: int = 1) -> tuple[Program, Program, PassRecord]:
    """The program before and after the pass, which has to change no bit of the result."""
    shapes = (SHAPE,) * inputs
    before = program_of(function, *shapes, rng=rng)
    after, (record,) = run_pipeline(Pipeline.parse("hoist-quantize"), before)
    for _ in range(2):
        values = random_inputs(shapes, rng)
        for want, got in zip(run(before, values), run(after, values), strict=True):
            assert want.dtype == got.dtype
            assert torch.equal(want, got)
            assert len(set(want.flatten().tolist())) > 5
    return before, after, record


def position(program: Program, name: str) -> int:
    return operators(program).index(name)


MOVES: dict[str, tuple[Function, str]] = {
    "reshape": (lambda x: rounded(torch.ops.aten.reshape(x.exp(), [4, 12])), "aten.reshape.default"),
    "permute": (lambda x: rounded(x.exp().permute(2, 0, 1)), PERMUTE),
    "slice": (lambda x: rounded(x.exp()[:, 1:5:2]), "aten.slice.Tensor"),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves_before(name: str, rng: torch.Generator) -> None:
    function, moved = MOVES[name]
    before, after, record = hoist(function, rng)
    assert record.count == 1
    assert position(before, EXP) < position(before, moved) < position(before, QUANTIZE)
    assert position(after, EXP) < position(after, QUANTIZE) < position(after, moved)
    assert sorted(operators(after)) == sorted(operators(before))


def test_what_moves_is_then_integers(rng: torch.Generator) -> None:
    _, after, _ = hoist(lambda x: rounded(x.exp().permute(2, 0, 1)), rng)
    (moved,) = (node for node in after.module.graph.nodes if str(node.target) == PERMUTE)
    assert moved.meta["val"].dtype == torch.uint8


def test_each_part_of_a_concatenation_is_quantized(rng: torch.Generator) -> None:
    _, after, record = hoist(lambda x, y: rounded(torch.cat([x.exp(), y, x.tanh()], -1)), rng, inputs=2)
    assert record.count == 1
    assert operators(after).count(QUANTIZE) == 3
    assert position(after, CAT) > max(i for i, name in enumerate(operators(after)) if name == QUANTIZE)
    (joined,) = (node for node in after.module.graph.nodes if str(node.target) == CAT)
    views = [QuantizeView.of(node) for node in joined.args[0]]
    assert {(view.inverse_scale, view.zero_point, view.dtype) for view in views} == {(31.5, 120, "uint8")}
    assert joined.args[1] == -1


def test_moves_through_many(rng: torch.Generator) -> None:
    _, after, record = hoist(
        lambda x, y: rounded(torch.cat([x.exp().permute(0, 2, 1), y.tanh()[:, :4].repeat(1, 1, 2)[..., :6]])),
        rng,
        inputs=2,
    )
    # The concatenation, the transpose of one part and the last slice of the other; repeat is not moved through.
    assert record.count == 3
    names = operators(after)
    assert names.index(EXP) + 1 == names.index(QUANTIZE)
    assert names.index("aten.repeat.default") < names.index(QUANTIZE, names.index(QUANTIZE) + 1)


def test_a_tensor_twice_in_a_concatenation(rng: torch.Generator) -> None:
    _, _, record = hoist(lambda x: rounded(torch.cat([y := x.exp(), y])), rng)
    assert record.count == 1


REFUSED: dict[str, Function] = {
    "a float reader": lambda x: (rounded(y := x.exp().permute(2, 0, 1)), y * 2),
    "a reader that quantizes otherwise": lambda x: (
        rounded(y := x.exp().permute(2, 0, 1)),
        rounded(y, 20.0, 3),
    ),
    "the output": lambda x: (rounded(y := torch.cat([x, x.exp()])), y),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    before, after, record = hoist(REFUSED[name], rng)
    assert record.count == 0
    assert set(reasons(record)) == {"what it quantizes has another reader"}
    assert operators(after) == operators(before)


LEFT: dict[str, Function] = {
    "arithmetic": lambda x: rounded(x.exp()),
    "an input": lambda x: rounded(x),
    "a padding": lambda x: rounded(torch.nn.functional.pad(x, (1, 1))),
}


@pytest.mark.parametrize("name", LEFT)
def test_leaves(name: str, rng: torch.Generator) -> None:
    _, _, record = hoist(LEFT[name], rng)
    assert (record.count, record.refusals) == (0, ())
