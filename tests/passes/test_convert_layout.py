"""convert-layout: each convolution reads and writes NHWC, between transposes."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lwc.graph import calls
from lwc.ops import ConvView
from lwc.trace import Program
from tests.programs import operators, program_of, rewrite

IMAGE = (2, 4, 8, 6)
PASSES = "raise-operators,convert-layout"
CONV, PERMUTE = "lwc.conv2d.default", "aten.permute.default"


def layouts(program: Program) -> list[tuple[str, str]]:
    """Each convolution's input and output layout."""
    views = [ConvView.of(node) for node in calls(program.module.graph, torch.ops.lwc.conv2d.default)]
    return [(view.input_layout, view.output_layout) for view in views]


CONVOLUTIONS = {
    "dense": nn.Conv2d(4, 6, 3),
    "pointwise": nn.Conv2d(4, 6, 1),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4),
    "grouped": nn.Conv2d(4, 6, 3, groups=2, bias=False),
    "strided, padded and dilated": nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_converts(name: str, rng: torch.Generator) -> None:
    after, record = rewrite(PASSES, program_of(CONVOLUTIONS[name], IMAGE, rng=rng), rng)
    assert record.count == 1
    assert layouts(after) == [("NHWC", "NHWC")]
    assert operators(after) == [PERMUTE, CONV, PERMUTE]


def test_counts_each_convolution_once(rng: torch.Generator) -> None:
    layers = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 3, groups=6))
    after, record = rewrite(PASSES, program_of(layers, IMAGE, rng=rng), rng)
    assert record.count == 3
    assert layouts(after) == [("NHWC", "NHWC")] * 3
    assert operators(after).count(PERMUTE) == 6


def test_every_user_reads_the_transpose(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: (y := own(x)).relu() + y.softmax(1), IMAGE, rng=rng, parts=(nn.Conv2d(4, 6, 3),)
    )
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    (conv,) = calls(after.module.graph, torch.ops.lwc.conv2d.default)
    assert [user.target for user in conv.users] == [torch.ops.aten.permute.default]


def test_a_second_run_leaves_what_is_nhwc_already(rng: torch.Generator) -> None:
    program = program_of(nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 4, 1)), IMAGE, rng=rng)
    after, record = rewrite(f"{PASSES},convert-layout", program, rng)
    assert record.count == 0
    assert operators(after) == [PERMUTE, CONV, PERMUTE] * 2


LEFT: dict[str, Callable[[nn.Conv2d, torch.Tensor], torch.Tensor]] = {
    "what reads NHWC": lambda own, x: lwc_conv2d(own, x.permute(0, 2, 3, 1), "NHWC", "NCHW"),
    "what writes NHWC": lambda own, x: lwc_conv2d(own, x, "NCHW", "NHWC"),
    "other operators": lambda own, x: x.relu().mean((2, 3)),
}


def lwc_conv2d(own: nn.Conv2d, x: torch.Tensor, input_layout: str, output_layout: str) -> torch.Tensor:
    """A convolution that is lwc's from the start."""
    layouts = (input_layout, output_layout)
    y: torch.Tensor = torch.ops.lwc.conv2d(
        x, own.weight, own.bias, None, [1, 1], [0] * 4, [1, 1], 1, "identity", None, None, *layouts
    )
    return y


@pytest.mark.parametrize("name", LEFT)
def test_leaves(name: str, rng: torch.Generator) -> None:
    program = program_of(LEFT[name], IMAGE, rng=rng, parts=(nn.Conv2d(4, 6, 1),))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 0
    assert operators(after) == operators(program)
    assert layouts(after) == layouts(program)
