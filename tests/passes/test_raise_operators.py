"""raise-operators: ATen's convolutions and linear layers become lwc's."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls
from lwc.ops import ConvView, LinearView
from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import trace
from tests.programs import Shape, operators, program_of, reasons, rewrite

IMAGE = (2, 4, 9, 8)

CONVOLUTIONS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    # The padding that the result must have: top, bottom, left, right.
    "dense": (nn.Conv2d(4, 6, 3), (0, 0, 0, 0)),
    "without a bias": (nn.Conv2d(4, 6, 3, bias=False), (0, 0, 0, 0)),
    "pointwise": (nn.Conv2d(4, 6, 1), (0, 0, 0, 0)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1), (1, 1, 1, 1)),
    "grouped": (nn.Conv2d(4, 6, (3, 2), groups=2, padding=(2, 1)), (2, 2, 1, 1)),
    "stride beyond the kernel": (nn.Conv2d(4, 5, (1, 2), stride=(3, 4)), (0, 0, 0, 0)),
    "dilated": (nn.Conv2d(4, 5, 3, dilation=(2, 3), padding=1), (1, 1, 1, 1)),
    "valid": (nn.Conv2d(4, 5, 3, padding="valid"), (0, 0, 0, 0)),
    "same": (nn.Conv2d(4, 5, (3, 5), padding="same"), (1, 1, 2, 2)),
    "same with an even kernel": (nn.Conv2d(4, 5, (2, 4), padding="same"), (0, 1, 1, 2)),
    "same with dilation": (nn.Conv2d(4, 5, (2, 3), padding="same", dilation=(3, 2)), (1, 2, 2, 2)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_raises_a_convolution(name: str, rng: torch.Generator) -> None:
    module, padding = CONVOLUTIONS[name]
    after, record = rewrite("raise-operators", program_of(module, IMAGE, rng=rng), rng)
    assert record.count == 1
    (node,) = calls(after.module.graph, torch.ops.lwc.conv2d.default)
    view = ConvView.of(node)
    assert view.padding == padding
    assert (view.activation, view.minimum, view.maximum) == ("identity", None, None)
    assert (view.input_layout, view.output_layout) == ("NCHW", "NCHW")
    assert operators(after) == ["lwc.conv2d.default"]


def test_raises_the_general_convolution(rng: torch.Generator) -> None:
    def function(own: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        return torch.convolution(x, own.weight, own.bias, [2], [1], [1], False, [0], 2)

    program = program_of(function, IMAGE, rng=rng, parts=(nn.Conv2d(4, 6, 3, groups=2),))
    after, record = rewrite("raise-operators", program, rng)
    assert record.count == 1
    assert operators(after) == ["lwc.conv2d.default"]


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 5, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_raises_a_linear_layer(shape: Shape, bias: bool, rng: torch.Generator) -> None:
    program = program_of(nn.Linear(4, 6, bias=bias), shape, rng=rng)
    after, record = rewrite("raise-operators", program, rng)
    assert record.count == 1
    (node,) = calls(after.module.graph, torch.ops.lwc.linear.default)
    assert (LinearView.of(node).bias is not None) == bias


def convolve(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A convolution whose weight is an input."""
    return functional.conv2d(x, weight)


def convolve_with_bias(own: nn.Conv2d, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A convolution whose bias is an input."""
    return functional.conv2d(x, own.weight, bias)


def transposed(own: nn.ConvTranspose2d, x: torch.Tensor) -> torch.Tensor:
    """A transposed convolution by the general operator."""
    return torch.convolution(x, own.weight, own.bias, [1], [0], [1], True, [0], 1)


def one_dimensional(own: nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
    """A one-dimensional convolution by the general operator."""
    return torch.convolution(x, own.weight, own.bias, [1], [0], [1], False, [0], 1)


def scaled_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A linear layer whose weight is an input."""
    return functional.linear(x, weight)


NOT_2D = "its image has no batch axis, or is not two-dimensional"
REFUSED: dict[str, tuple[Any, tuple[nn.Module, ...], tuple[Shape, ...], str]] = {
    "weight": (convolve, (), (IMAGE, (5, 4, 3, 3)), "its weight is not a constant"),
    "linear weight": (scaled_linear, (), ((3, 4), (6, 4)), "its weight is not a constant"),
    "bias": (convolve_with_bias, (nn.Conv2d(4, 5, 3),), (IMAGE, (5,)), "its bias is not a constant"),
    "transposed": (transposed, (nn.ConvTranspose2d(4, 5, 3),), (IMAGE,), "it is transposed"),
    "no batch": (lambda own, x: own(x), (nn.Conv2d(4, 5, 3),), (IMAGE[1:],), NOT_2D),
    "one-dimensional": (one_dimensional, (nn.Conv1d(4, 5, 3),), ((2, 4, 9),), NOT_2D),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, parts, shapes, reason = REFUSED[name]
    program = program_of(function, *shapes, rng=rng, parts=parts)
    after, record = rewrite("raise-operators", program, rng)
    assert record.count == 0
    assert reasons(record) == [reason]
    assert operators(after) == operators(program)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_refuses_other_types(dtype: torch.dtype) -> None:
    program = trace(nn.Conv2d(4, 5, 3).to(dtype).eval(), (torch.zeros(IMAGE, dtype=dtype),), ("x",))
    _, (record,) = run_pipeline(Pipeline.parse("raise-operators"), program)
    assert record.count == 0
    assert reasons(record) == [f"its dtype is {dtype}"]


def test_a_transposed_convolution_is_no_candidate(rng: torch.Generator) -> None:
    _, record = rewrite("raise-operators", program_of(nn.ConvTranspose2d(4, 5, 3), IMAGE, rng=rng), rng)
    assert (record.count, record.refusals) == (0, ())
