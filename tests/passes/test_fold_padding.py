"""fold-padding: zero padding joins the convolution that reads it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls
from lwc.ops import ConvView, conv2d
from tests.programs import operators, program_of, reasons, rewrite

IMAGE = (2, 3, 8, 7)
PASSES = "raise-operators,fold-padding"

# F.pad's amounts (left, right, top, bottom), the convolution's own padding,
# and the sum (top, bottom, left, right).
FOLDED: dict[str, tuple[tuple[int, ...], int | tuple[int, int], tuple[int, ...]]] = {
    "asymmetric": ((0, 1, 0, 1), 0, (0, 1, 0, 1)),
    "all sides different": ((1, 2, 3, 4), 0, (3, 4, 1, 2)),
    "onto the convolution's own": ((1, 2, 3, 4), (1, 2), (4, 5, 3, 4)),
    "columns only": ((1, 2), 0, (0, 0, 1, 2)),
    "nothing": ((), 1, (1, 1, 1, 1)),
    "no channels": ((1, 1, 2, 2, 0, 0), 0, (2, 2, 1, 1)),
}


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize("groups", [1, 3])
def test_folds(name: str, groups: int, rng: torch.Generator) -> None:
    amounts, own, want = FOLDED[name]
    convolution = nn.Conv2d(3, 6, 3, stride=2, padding=own, groups=groups)
    program = program_of(lambda c, x: c(functional.pad(x, amounts)), IMAGE, rng=rng, parts=(convolution,))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert operators(after) == ["lwc.conv2d.default"]
    (node,) = calls(after.module.graph, torch.ops.lwc.conv2d.default)
    assert ConvView.of(node).padding == want


def test_folds_one_padding_after_another(rng: torch.Generator) -> None:
    layers = nn.Sequential(nn.ZeroPad2d((1, 0, 2, 0)), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3))
    after, record = rewrite(PASSES, program_of(layers, IMAGE, rng=rng), rng)
    assert record.count == 2
    assert operators(after) == ["lwc.conv2d.default"]


def test_folds_through_rounding(rng: torch.Generator) -> None:
    lwc: Any = torch.ops.lwc

    def function(own: nn.Module, x: torch.Tensor) -> torch.Tensor:
        integers = lwc.quantize(functional.pad(x, (1, 2, 3, 4)), 31.5, 120, "uint8")
        return torch.as_tensor(own(lwc.dequantize(integers, torch.tensor(1 / 31.5), 120)))

    program = program_of(function, IMAGE, rng=rng, parts=(nn.Conv2d(3, 4, 3),))
    after, record = rewrite(f"fold-constants,{PASSES}", program, rng)
    assert record.count == 1
    assert operators(after) == ["lwc.quantize.default", "lwc.dequantize.default", "lwc.conv2d.default"]
    (node,) = calls(after.module.graph, lwc.conv2d.default)
    assert ConvView.of(node).padding == (3, 4, 1, 2)


def test_folds_into_each_of_two_convolutions(rng: torch.Generator) -> None:
    def function(a: nn.Module, b: nn.Module, x: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(x, (1, 0, 0, 1))
        sums: torch.Tensor = a(padded) + b(padded)
        return sums

    program = program_of(function, IMAGE, rng=rng, parts=(nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 2
    assert "aten.pad.default" not in operators(after)


def test_padding_that_something_else_reads_stays_for_it(rng: torch.Generator) -> None:
    def function(convolution: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        padded = functional.pad(x, (1, 0, 0, 1))
        return convolution(padded), padded

    after, record = rewrite(PASSES, program_of(function, IMAGE, rng=rng, parts=(nn.Conv2d(3, 4, 3),)), rng)
    assert record.count == 1
    assert "aten.pad.default" in operators(after)


Padding = Callable[[torch.Tensor], torch.Tensor]
REFUSED: dict[str, tuple[Padding, str]] = {
    "value": (lambda x: functional.pad(x, (1, 1), value=0.5), "the padding value is 0.5, not zero"),
    "reflection": (
        lambda x: functional.pad(x, (1, 1, 1, 1), "reflect"),
        "the padding is reflect, not constant",
    ),
    "repetition": (
        lambda x: functional.pad(x, (1, 1, 1, 1), "replicate"),
        "the padding is replicate, not constant",
    ),
    "around the torus": (
        lambda x: functional.pad(x, (1, 1, 1, 1), "circular"),
        "the padding is circular, not constant",
    ),
    "crop": (lambda x: functional.pad(x, (-1, 2, 0, 0)), "the padding is negative: it crops"),
    "channels": (
        lambda x: functional.pad(x[:, :2], (0, 0, 0, 0, 0, 1)),
        "the padding reaches the channel or the batch axis",
    ),
    "batch": (
        lambda x: functional.pad(x, (0, 0, 0, 0, 0, 0, 1, 0)),
        "the padding reaches the channel or the batch axis",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    pad, reason = REFUSED[name]
    program = program_of(lambda c, x: c(pad(x)), IMAGE, rng=rng, parts=(nn.Conv2d(3, 4, 3, padding=1),))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 0
    assert reasons(record) == [reason]
    assert "aten.pad.default" in operators(after)


def test_refuses_a_convolution_that_reads_nhwc(rng: torch.Generator) -> None:
    def function(own: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(x, (0, 0, 1, 1))
        arguments = (None, [1, 1], [0, 0, 0, 0], [1, 1], 1, "identity", None, None, "NHWC", "NHWC")
        y: torch.Tensor = conv2d(padded, own.weight, own.bias, *arguments)
        return y

    program = program_of(function, (1, 6, 5, 3), rng=rng, parts=(nn.Conv2d(3, 4, 2),))
    _, record = rewrite(PASSES, program, rng)
    assert record.count == 0
    assert reasons(record) == ["the convolution reads NHWC"]


def test_padding_of_something_else_is_no_candidate(rng: torch.Generator) -> None:
    program = program_of(lambda x: functional.pad(x, (1, 1)).relu(), IMAGE, rng=rng)
    _, record = rewrite(PASSES, program, rng)
    assert (record.count, record.refusals) == (0, ())
