"""lwc's operators: registered soundly, and equal to the PyTorch layers that they stand for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from lwc.ops import conv2d, linear
from lwc.ops.activation import ACTIVATIONS

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    # Image in NCHW, weight, and what differs from a plain convolution.
    "plain": ((2, 4, 7, 6), (5, 4, 3, 3), {}),
    "asymmetric padding": ((2, 4, 7, 6), (5, 4, 3, 2), {"padding": [0, 1, 2, 3]}),
    "stride beyond the kernel": ((1, 4, 7, 6), (5, 4, 1, 1), {"stride": [3, 2]}),
    "dilated": ((1, 4, 9, 8), (5, 4, 3, 3), {"dilation": [2, 3]}),
    "grouped": ((2, 4, 7, 6), (6, 2, 3, 3), {"groups": 2}),
    "depthwise": ((2, 4, 7, 6), (4, 1, 3, 3), {"groups": 4, "padding": [1, 1, 1, 1]}),
}


def arguments(name: str, layouts: tuple[str, str], rng: torch.Generator) -> tuple[Any, ...]:
    """The operator's arguments in float64, the image in its layout."""
    shape, weight_shape, options = CONVOLUTIONS[name]
    x, weight = (torch.randn(s, generator=rng).double() for s in (shape, weight_shape))
    bias = torch.randn(weight_shape[0], generator=rng).double()
    defaults = {"stride": [1, 1], "padding": [0, 0, 0, 0], "dilation": [1, 1], "groups": 1}
    geometry = list((defaults | options).values())
    if layouts[0] == "NHWC":
        x = x.permute(0, 2, 3, 1).contiguous()
    result = conv2d(x, weight, bias, None, *geometry, "identity", None, None, *layouts)
    residual = torch.randn(result.shape, generator=rng).double()
    return (x, weight, bias, residual, *geometry, "silu", -0.1, 0.5, *layouts)


@pytest.mark.parametrize("layouts", [("NCHW", "NCHW"), ("NCHW", "NHWC"), ("NHWC", "NHWC"), ("NHWC", "NCHW")])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str, layouts: tuple[str, str], rng: torch.Generator) -> None:
    x, weight, bias, residual, stride, padding, dilation, groups, *rest = arguments(name, layouts, rng)
    image = x if layouts[0] == "NCHW" else x.permute(0, 3, 1, 2)
    top, bottom, left, right = padding
    image = functional.pad(image, (left, right, top, bottom))
    total = functional.conv2d(image, weight, bias, stride, 0, dilation, groups)
    total = total + (residual if layouts[1] == "NCHW" else residual.permute(0, 3, 1, 2))
    want = functional.silu(total).clamp(-0.1, 0.5)
    got = conv2d(x, weight, bias, residual, stride, padding, dilation, groups, *rest)
    assert got.is_contiguous()
    assert torch.equal(got if layouts[1] == "NCHW" else got.permute(0, 3, 1, 2), want)


@pytest.mark.parametrize("width", range(1, 6))
def test_a_single_channel_in_float32(width: int, rng: torch.Generator) -> None:
    """oneDNN reads past such an input where it takes its strides for NHWC."""
    x, weight = torch.randn(2, 5, width, 1, generator=rng), torch.randn(1, 1, 3, 5, generator=rng)
    geometry: list[Any] = [[1, 2], [0, 0, 2, 2], [1, 1], 1, "identity", None, None, "NHWC", "NHWC"]
    got = conv2d(x, weight, None, None, *geometry)
    want = conv2d(x.double(), weight.double(), None, None, *geometry)
    assert torch.allclose(got.double(), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layouts", [("NCHW", "NHWC"), ("NHWC", "NCHW")])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_is_registered_soundly(name: str, layouts: tuple[str, str], rng: torch.Generator) -> None:
    """Among others, that the shape that it claims is the one that it gives."""
    torch.library.opcheck(
        conv2d, arguments(name, layouts, rng), test_utils=("test_schema", "test_faketensor")
    )


# Each activation by its formula.
WRITTEN_OUT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "silu": lambda x: x * functional.sigmoid(x),
    "hardsigmoid": lambda x: functional.relu6(x + 3) / 6,
    "hardswish": lambda x: x * functional.relu6(x + 3) / 6,
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "tanh": lambda x: 1 - 2 / (torch.exp(2 * x) + 1),
}


def test_every_activation_is_written_out() -> None:
    assert set(WRITTEN_OUT) == set(ACTIVATIONS)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("activation", WRITTEN_OUT)
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_linear(activation: str, shape: tuple[int, ...], has_bias: bool, rng: torch.Generator) -> None:
    x, weight, bias = (2 * torch.randn(s, generator=rng).double() for s in (shape, (5, 4), (5,)))
    sums = (x.unsqueeze(-2) * weight).sum(-1)
    want = WRITTEN_OUT[activation](sums + bias if has_bias else sums).clamp(max=0.75)
    operands = (x, weight, bias if has_bias else None, None, activation, None, 0.75)
    got = linear(*operands)
    assert got.is_contiguous()
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    torch.library.opcheck(linear, operands, test_utils=("test_schema", "test_faketensor"))


def test_linear_adds_its_residual_before_the_activation(rng: torch.Generator) -> None:
    x, weight, bias, residual = (torch.randn(s, generator=rng) for s in ((2, 3, 4), (5, 4), (5,), (2, 3, 5)))
    got = linear(x, weight, bias, residual, "tanh", None, None)
    assert torch.equal(got, torch.tanh(functional.linear(x, weight, bias) + residual))


@pytest.mark.parametrize("bounds", [(None, None), (0.0, None), (None, 0.5), (-0.5, 0.5)])
def test_bounds(bounds: tuple[float | None, float | None], rng: torch.Generator) -> None:
    x, weight = torch.randn(3, 4, generator=rng), torch.randn(5, 4, generator=rng)
    low = -torch.inf if bounds[0] is None else bounds[0]
    high = torch.inf if bounds[1] is None else bounds[1]
    got = linear(x, weight, None, None, "identity", *bounds)
    assert torch.equal(got, functional.linear(x, weight).clamp(low, high))
