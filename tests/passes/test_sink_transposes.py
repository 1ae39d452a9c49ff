"""sink-transposes: the transposes around convolutions move down, and none is left between them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls
from lwc.ops import ConvView
from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import Program
from tests.programs import Shape, assert_same_meaning, operators, program_of, rewrite

IMAGE = (2, 3, 8, 6)
PERMUTE = "aten.permute.default"
PASSES = "remove-identities,fold-constants,raise-operators,convert-layout,sink-transposes"


def convert_and_sink(program: Program, rng: torch.Generator) -> tuple[Program, int, int]:
    """The program with its layout converted; how many convolutions were, and how often a transpose moved."""
    after, records = run_pipeline(Pipeline.parse(PASSES), program)
    assert_same_meaning(PASSES, program, after, rng)
    counts = {record.name: record.count for record in records}
    return after, counts["convert-layout"], counts["sink-transposes"]


def transposes(program: Program) -> list[str]:
    """The transposes in the program, each with what it reads."""
    return [
        f"{node.name} of {node.args[0]}"
        for node in calls(program.module.graph, torch.ops.aten.permute.default, torch.ops.aten.transpose.int)
    ]


def layouts(program: Program) -> list[tuple[str, str]]:
    """Each convolution's input and output layout."""
    views = [ConvView.of(node) for node in calls(program.module.graph, torch.ops.lwc.conv2d.default)]
    return [(view.input_layout, view.output_layout) for view in views]


# The first convolution.


def test_the_first_convolution_reads_the_image_as_it_is(rng: torch.Generator) -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=4))
    after, converted, sunk = convert_and_sink(program_of(layers, IMAGE, rng=rng), rng)
    # The image is read, and between three convolutions two pairs cancel.
    assert (converted, sunk) == (3, 3)
    assert layouts(after) == [("NCHW", "NHWC"), ("NHWC", "NHWC"), ("NHWC", "NHWC")]
    # Only the one that gives the result its own layout.
    assert len(transposes(after)) == 1


READ_AS_NHWC = {
    "pointwise": nn.Conv2d(3, 4, 1),
    "grouped": nn.Conv2d(3, 3, 3, groups=3),
    "many channels": nn.Conv2d(5, 4, 3),
}


@pytest.mark.parametrize("name", READ_AS_NHWC)
def test_other_first_convolutions_read_a_transposed_input(name: str, rng: torch.Generator) -> None:
    module = READ_AS_NHWC[name]
    program = program_of(module, (2, module.in_channels, 8, 6), rng=rng)
    after, converted, sunk = convert_and_sink(program, rng)
    assert (converted, sunk) == (1, 0)
    assert layouts(after) == [("NHWC", "NHWC")]
    assert len(transposes(after)) == 2


def test_a_convolution_of_what_is_computed_reads_it_transposed(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: own(x.softmax(1)), IMAGE, rng=rng, parts=(nn.Conv2d(3, 4, 3),))
    after, converted, sunk = convert_and_sink(program, rng)
    assert (converted, sunk) == (1, 0)
    assert layouts(after) == [("NHWC", "NHWC")]


def test_a_transpose_that_the_model_wants_stays_before_a_convolution_in_nchw(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: own(x.permute(0, 2, 3, 1)), (2, 3, 3, 3), rng=rng, parts=(nn.Conv2d(3, 4, 3),)
    )
    after, record = rewrite("raise-operators,sink-transposes", program, rng)
    assert record.count == 0
    assert operators(after) == [PERMUTE, "lwc.conv2d.default"]


def test_an_input_in_nhwc_needs_no_transpose(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: own(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1),
        (2, 8, 6, 3),
        rng=rng,
        parts=(nn.Conv2d(3, 4, 3),),
    )
    after, converted, sunk = convert_and_sink(program, rng)
    assert (converted, sunk) == (1, 2)
    assert layouts(after) == [("NHWC", "NHWC")]
    assert transposes(after) == []


# Between convolutions.


def between(function: Callable[..., Any], rng: torch.Generator) -> Program:
    """`function` of a convolution's result (2, 4, 6, 4) and of that of another, read by a third."""

    def whole(a: nn.Module, b: nn.Module, last: nn.Module, x: torch.Tensor) -> Any:
        return last(function(a(x), b(x)))

    parts = (nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.LazyConv2d(2, 1))
    whole(*parts, torch.zeros(IMAGE))
    return program_of(whole, IMAGE, rng=rng, parts=parts)


TRANSPARENT: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "sum": lambda a, b: a + b,
    "scaled sum": lambda a, b: torch.add(a, b, alpha=2),
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / (1 + b.abs()),
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "sum with a number": lambda a, b: a + 3 + b,
    "curves": lambda a, b: functional.silu(a) * functional.gelu(b).sigmoid().tanh(),
    "clamps": lambda a, b: functional.relu6(a) + b.relu() + b.clamp_min(0.1).clamp_max(2).clamp(0.2, 1),
    "piecewise": lambda a, b: functional.hardswish(a) + functional.hardsigmoid(b) + functional.hardtanh(a),
    "more curves": lambda a, b: functional.leaky_relu(a, 0.1) + functional.elu(b) + functional.mish(-a),
    "powers": lambda a, b: a.abs().sqrt() + b.square() + (b**2 + 1).rsqrt() + (a.abs() + 1).log().exp(),
    "scale by channel": lambda a, b: (a + b) * torch.tensor([1.0, 2, 3, 4]).reshape(4, 1, 1),
    "scale by channel and image": lambda a, b: (a + b) * torch.arange(1.0, 9).reshape(2, 4, 1, 1),
    "shift by column": lambda a, b: a + b + torch.arange(4.0),
    "shift by pixel": lambda a, b: a + b + torch.arange(24.0).reshape(6, 4),
    "shift by pixel and channel": lambda a, b: a + b + torch.arange(96.0).reshape(1, 4, 6, 4),
    "squeeze and excite": lambda a, b: a * b.mean((2, 3), keepdim=True).sigmoid(),
    "concatenation of channels": lambda a, b: torch.cat([a, b], 1),
    "concatenation of channels from the end": lambda a, b: torch.cat([a, b], -3),
    "concatenation of images": lambda a, b: torch.cat([a, b]),
    "concatenation of rows": lambda a, b: torch.cat([a, b], dim=2),
    "concatenation of columns": lambda a, b: torch.cat([a, b], dim=3),
    "global average": lambda a, b: functional.adaptive_avg_pool2d(a + b, 1),
    "global mean": lambda a, b: (a + b).mean((2, 3), keepdim=True),
    "global mean counted from the end": lambda a, b: (a + b).mean((-1, -2), keepdim=True),
    "global mean, spread again": lambda a, b: functional.interpolate(
        (a + b).mean((2, 3), keepdim=True), size=(3, 2), mode="bilinear"
    ),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transposes_pass_through(name: str, rng: torch.Generator) -> None:
    after, converted, sunk = convert_and_sink(between(TRANSPARENT[name], rng), rng)
    assert converted == 3
    assert set(layouts(after)) == {("NCHW", "NHWC"), ("NHWC", "NHWC")}
    # The one at the end gives the result its own layout.
    assert len(transposes(after)) == 1
    # Each operator between them lets one pass; one pair cancels, and two convolutions read the image.
    passed = len(operators(after)) - converted - 1
    assert sunk == passed + 3


OPAQUE: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "softmax over columns": lambda a, b: (a + b).softmax(-1),
    "mean over channels": lambda a, b: (a + b).mean(1, keepdim=True),
    "mean over rows": lambda a, b: (a + b).mean(2, keepdim=True),
    "mean over everything": lambda a, b: torch.mean(a + b, dim=None, keepdim=True),
    "pooling to four pixels": lambda a, b: functional.adaptive_avg_pool2d(a + b, 2),
    "interpolation": lambda a, b: functional.interpolate(a + b, size=(3, 2), mode="bilinear"),
    "concatenation with something else": lambda a, b: torch.cat([a + b, torch.ones(2, 1, 6, 4)], 1),
    "columns as channels": lambda a, b: (a + b).transpose(1, 3),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_transposes_stay_before_what_cares(name: str, rng: torch.Generator) -> None:
    """Right, at the price of transposes."""
    after, converted, _ = convert_and_sink(between(OPAQUE[name], rng), rng)
    assert converted == 3
    assert len(transposes(after)) > 1


# Heads.


HEADS: dict[str, tuple[Callable[[nn.Module, nn.Module, torch.Tensor], Any], int]] = {
    # With the width that the linear layer reads.
    "pooled and flattened": (
        lambda own, last, x: last(functional.adaptive_avg_pool2d(own(x), 1).flatten(1)),
        4,
    ),
    "pooled and squeezed": (lambda own, last, x: last(own(x).mean((2, 3))), 4),
    "pooled in float64": (lambda own, last, x: own(x).mean((2, 3), dtype=torch.float64), 4),
    "tokens by transpose": (lambda own, last, x: last(own(x).flatten(2).transpose(1, 2)), 4),
    "tokens by permute": (lambda own, last, x: last(own(x).flatten(2).permute(0, 2, 1)), 4),
    "tokens by view": (lambda own, last, x: last(own(x).view(2, 4, 24).transpose(2, 1)), 4),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_read_nhwc(name: str, rng: torch.Generator) -> None:
    function, width = HEADS[name]
    parts = (nn.Conv2d(3, 4, 3), nn.Linear(width, 5))
    after, converted, sunk = convert_and_sink(program_of(function, IMAGE, rng=rng, parts=parts), rng)
    assert converted == 1
    assert sunk >= 2
    assert transposes(after) == []


FLATTENED: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Shape]] = {
    "an image of several pixels": (lambda y: y.flatten(1), (2, 96)),
    "two axes that are not rows and columns": (lambda y: y.reshape(2, 8, 12).transpose(1, 2), (2, 12, 8)),
}


@pytest.mark.parametrize("name", FLATTENED)
def test_flattened_images_keep_their_order(name: str, rng: torch.Generator) -> None:
    function, shape = FLATTENED[name]
    program = program_of(lambda own, x: function(own(x)), IMAGE, rng=rng, parts=(nn.Conv2d(3, 4, 3),))
    after, _, _ = convert_and_sink(program, rng)
    assert tuple(after.module(*after.inputs).shape) == shape
    assert len(transposes(after)) >= 1
