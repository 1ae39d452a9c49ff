"""`--io int8`: integers at a program's border, whatever reads an input and whatever an output is."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.errors import UnsupportedError
from lwc.package.steps import dequantize, quantize
from lwc.pipeline import Pipeline, run_pipeline
from lwc.quantize.choices import Rules
from lwc.quantize.data import CalibrationData
from lwc.quantize.layers import rounded_layers
from lwc.quantizing import Quantized, to_integers, with_float_layers
from lwc.targets.resolve import resolve_target
from tests.programs import operators, program_of, random_inputs, run

IMAGE, TOKENS = (1, 3, 10, 10), (1, 6, 8)
X86, ARM = "x86-64-v3", "arm64"
QUANTIZE, DEQUANTIZE, RECENTER = "lwc.quantize.default", "lwc.dequantize.default", "lwc.recenter.default"


def on_integers(
    function: Callable[..., Any],
    *shapes: tuple[int, ...],
    rng: torch.Generator,
    parts: tuple[nn.Module, ...] = (),
    target: str = X86,
) -> Quantized:
    """`function` of `parts` and of inputs of `shapes`, as `--precision int8 --io int8` compiles it."""
    program = program_of(function, *shapes, rng=rng, parts=parts)
    program = replace(program, target=resolve_target(target))
    program, _ = run_pipeline(Pipeline.parse("default,-select-depthwise-kernel"), program)
    samples = tuple(random_inputs(shapes, rng) for _ in range(16))
    return to_integers(program, CalibrationData(samples, "noise"), lambda text: None, Rules(io="int8"))


def outputs(found: Quantized, real: tuple[torch.Tensor, ...]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What the program with integers at its border gives, and the one with float32 there, both in real numbers."""
    compiled = found.compiled
    integers = [quantize(x.numpy(), steps) for x, steps in zip(real, compiled.inputs, strict=True)]
    given = run(compiled.program, tuple(map(torch.from_numpy, integers)))
    assert {y.dtype for y in given} == {torch.uint8}
    got = [dequantize(y.numpy(), steps) for y, steps in zip(given, compiled.outputs, strict=True)]
    return got, [y.numpy() for y in run(found.integer, real)]


def assert_same(found: Quantized, rng: torch.Generator) -> None:
    """The border changes nothing but a step's rounding, now and then: its scale is 1 / (1 / scale)."""
    shapes = tuple(tuple(x.shape) for x in found.integer.inputs)
    for _ in range(3):
        got, want = outputs(found, random_inputs(shapes, rng))
        for one, other, steps in zip(got, want, found.compiled.outputs, strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max() <= 1.01 * steps.scale
            assert np.mean(one != other) < 0.01
            assert np.unique(one).size > 5


Case = tuple[Callable[..., Any], tuple[nn.Module, ...], tuple[tuple[int, ...], ...]]
CASES: dict[str, Case] = {
    "a layer": (lambda conv, x: conv(x), (nn.Conv2d(3, 8, 3),), (IMAGE,)),
    "a mean": (lambda x: x.mean((2,)), (), (IMAGE,)),
    "several layers read the input": (
        lambda a, b, x: a(x) + b(x),
        (nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)),
        (IMAGE,),
    ),
    "a float step reads the input": (
        lambda conv, x: conv(x).relu() * functional.avg_pool2d(x, 3, 1, 1).sum(1, keepdim=True),
        (nn.Conv2d(3, 8, 1),),
        (IMAGE,),
    ),
    "a float step gives the output": (
        lambda own, x: own(x).softmax(-1),
        (nn.Linear(8, 6),),
        (TOKENS,),
    ),
    "nothing but float steps": (lambda x: x.exp() - x, (), (TOKENS,)),
    "several inputs and outputs": (
        lambda conv, own, x, y: (conv(x), own(y), conv(x).mean((2, 3)), own(y).sigmoid()),
        (nn.Conv2d(3, 8, 3), nn.Linear(8, 4)),
        (IMAGE, TOKENS),
    ),
    "a result that is an output and read on": (
        lambda a, b, x: (y := a(x), b(y)),
        (nn.Linear(8, 8), nn.Linear(8, 4)),
        (TOKENS,),
    ),
    "an output twice": (lambda own, x: (y := own(x), y), (nn.Linear(8, 4),), (TOKENS,)),
    "a part of the input is read": (lambda own, x: own(x[:, :2]), (nn.Conv2d(2, 8, 1),), (IMAGE,)),
}


@pytest.mark.parametrize("target", [X86, ARM])
@pytest.mark.parametrize("name", CASES)
def test_integers_in_and_out(name: str, target: str, rng: torch.Generator) -> None:
    function, parts, shapes = CASES[name]
    found = on_integers(function, *shapes, rng=rng, parts=parts, target=target)
    assert_same(found, rng)
    # Pixels are unsigned, whatever kernels multiply.
    assert all(x.dtype == torch.uint8 for x in found.compiled.program.inputs)


VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "the input": lambda x: x,
    "its elements in another order": lambda x: x.permute(0, 2, 1),
    "its elements in another shape": lambda x: x.reshape(4, 12),
}


@pytest.mark.parametrize("target", [X86, ARM])
@pytest.mark.parametrize("name", VIEWS)
def test_an_output_that_is_the_input_keeps_every_bit(name: str, target: str, rng: torch.Generator) -> None:
    view = VIEWS[name]
    found = on_integers(
        lambda own, x: (own(x), view(x)), TOKENS, rng=rng, parts=(nn.Linear(8, 4),), target=target
    )
    x = torch.randint(0, 256, TOKENS, generator=rng).to(torch.uint8)
    assert torch.equal(run(found.compiled.program, (x,))[1], view(x))
    given, taken = found.compiled.outputs[1], found.compiled.inputs[0]
    assert given.zero_point == taken.zero_point
    assert given.scale == pytest.approx(taken.scale, rel=1e-6)


@pytest.mark.parametrize("target", [X86, ARM])
def test_nothing_is_real_where_all_is_integers(target: str, rng: torch.Generator) -> None:
    parts = (nn.Conv2d(3, 8, 3), nn.Linear(8, 5))
    found = on_integers(
        lambda conv, own, x: own(conv(x).relu().mean((2, 3))), IMAGE, rng=rng, parts=parts, target=target
    )
    names = operators(found.compiled.program)
    assert QUANTIZE not in names
    assert DEQUANTIZE not in names
    # One at each end, where kernels multiply signed bytes.
    assert names.count(RECENTER) == (2 if target == ARM else 0)
    assert {QUANTIZE, DEQUANTIZE} <= set(operators(found.integer))


def test_both_types_of_kernels_have_the_same_border(rng: torch.Generator) -> None:
    """The same bytes mean the same, and give the same."""
    state = rng.get_state()
    found = []
    for target in (X86, ARM):
        rng.set_state(state)
        parts = (nn.Conv2d(3, 8, 3),)
        found.append(
            on_integers(lambda conv, x: conv(x).relu(), IMAGE, rng=rng, parts=parts, target=target).compiled
        )
    x86, arm = found
    assert (x86.inputs, x86.outputs) == (arm.inputs, arm.outputs)
    x = torch.randint(0, 256, IMAGE, generator=rng).to(torch.uint8)
    assert torch.equal(run(x86.program, (x,))[0], run(arm.program, (x,))[0])


def test_a_first_layer_back_in_float32_reads_the_integers(rng: torch.Generator) -> None:
    parts = (nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1))
    found = on_integers(lambda own, after, x: after(own(x).relu()), (1, 3, 9, 9), rng=rng, parts=parts)
    first, *_ = rounded_layers(found.rounded)
    samples = (random_inputs(((1, 3, 9, 9),), rng),)
    mixed = with_float_layers(found, [first], CalibrationData(samples, "noise"))
    assert mixed.quantization.float_layers == 1
    (got,), (want,) = outputs(mixed, samples[0])
    assert np.abs(got - want).max() <= mixed.compiled.outputs[0].scale


def test_an_input_that_nothing_reads(rng: torch.Generator) -> None:
    with pytest.raises(
        UnsupportedError, match=r"input '.*': nothing reads it, so it has no range; leave it out"
    ):
        on_integers(lambda own, x, y: own(x), TOKENS, TOKENS, rng=rng, parts=(nn.Linear(8, 4),))


class Constant(nn.Module):
    """A parameter that is an output."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.table = nn.Linear(8, 4), nn.Parameter(torch.zeros(3, 3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Four numbers a token, and the table."""
        return self.own(x), self.table


def test_an_output_that_is_a_constant(rng: torch.Generator) -> None:
    with pytest.raises(UnsupportedError, match="output 1: is a constant, so it has no range; leave it out"):
        on_integers(Constant(), TOKENS, rng=rng)


def test_the_program_with_float32_stays_as_it_was(rng: torch.Generator) -> None:
    found = on_integers(lambda own, x: own(x), TOKENS, rng=rng, parts=(nn.Linear(8, 4),))
    assert [x.dtype for x in found.integer.inputs] == [torch.float32]
    assert run(found.integer, random_inputs((TOKENS,), rng))[0].dtype == torch.float32
