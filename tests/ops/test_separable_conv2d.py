"""`lwc::separable_conv2d`: registered soundly, and equal to the two PyTorch layers that it stands for."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from lwc.ops import separable_conv2d

# Image in NHWC, depthwise weight, stride, padding (top, bottom, left, right) and dilation.
LAYERS: dict[str, tuple[tuple[int, ...], tuple[int, ...], list[int], list[int], list[int]]] = {
    "plain": ((2, 7, 6, 4), (4, 1, 3, 3), [1, 1], [0, 0, 0, 0], [1, 1]),
    "asymmetric padding": ((2, 7, 6, 4), (4, 1, 3, 2), [1, 1], [0, 1, 2, 3], [1, 1]),
    "strided": ((1, 7, 6, 4), (4, 1, 3, 3), [3, 2], [1, 1, 0, 0], [1, 1]),
    "dilated": ((1, 9, 8, 4), (4, 1, 3, 3), [1, 1], [0, 0, 0, 0], [2, 3]),
}


def arguments(name: str, rng: torch.Generator) -> tuple[Any, ...]:
    """The operator's arguments in float64, to five channels."""
    shape, window_shape, stride, padding, dilation = LAYERS[name]
    channels = shape[3]
    x, window_weight, window_bias, weight, bias = (
        torch.randn(s, generator=rng).double()
        for s in (shape, window_shape, (channels,), (5, channels, 1, 1), (5,))
    )
    window = (window_weight, window_bias, stride, padding, dilation, "identity", -0.5, 0.75)
    result = separable_conv2d(x, *window, weight, bias, None, "identity", None, None)
    residual = torch.randn(result.shape, generator=rng).double()
    return (x, *window, weight, bias, residual, "silu", None, 0.5)


@pytest.mark.parametrize("name", LAYERS)
def test_is_the_two_layers(name: str, rng: torch.Generator) -> None:
    x, window_weight, window_bias, stride, padding, dilation, *_ = operands = arguments(name, rng)
    weight, bias, residual = operands[9:12]
    top, bottom, left, right = padding
    image = functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
    between = functional.conv2d(image, window_weight, window_bias, stride, 0, dilation, x.shape[3])
    total = functional.conv2d(between.clamp(-0.5, 0.75), weight, bias) + residual.permute(0, 3, 1, 2)
    want = functional.silu(total).clamp(max=0.5)
    got = separable_conv2d(*operands)
    assert got.is_contiguous()
    assert torch.equal(got.permute(0, 3, 1, 2), want)


@pytest.mark.parametrize("name", LAYERS)
def test_is_registered_soundly(name: str, rng: torch.Generator) -> None:
    """Among others, that the shape that it claims is the one that it gives."""
    torch.library.opcheck(
        separable_conv2d, arguments(name, rng), test_utils=("test_schema", "test_faketensor")
    )
