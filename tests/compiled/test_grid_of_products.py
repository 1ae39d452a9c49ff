"""Every kernel of matrix products against its operator in PyTorch, over a grid of shapes that no vector divides."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lwc.ops import Heads, attention, conv2d, linear
from tests.compiled.grid import TARGETS, Case, Place, agrees_over_the_grid
from tests.programs import Compute

pytestmark = pytest.mark.slow


def pointwise(place: Place) -> Case:
    """A convolution of 1 x 1 pixels, which is a matrix product where the stride is 1."""
    stride, _, dilation = place.window
    owner = nn.Conv2d(place.channels, place.outputs, 1)
    options = (stride, [0] * 4, dilation, 1, "identity", -1.0, 6.0, "NHWC", "NHWC")
    return Compute(lambda own, x: conv2d(x, own.weight, own.bias, None, *options), owner), (place.image,)


def fully_connected(place: Place) -> Case:
    """A linear layer of an image's pixels, and its residual."""
    *pixels, channels = place.image
    owner = nn.Linear(channels, place.outputs)
    layer = Compute(lambda own, x, r: linear(x, own.weight, own.bias, r, "silu", None, None), owner)
    return layer, (place.image, (*pixels, place.outputs))


def product(place: Place) -> Case:
    """A batch of products of two activations."""
    left, right = (2, place.height, place.channels), (2, place.channels, place.outputs)
    return Compute(lambda x, y: (x @ y) / place.channels**0.5), (left, right)


def heads(place: Place) -> Case:
    """Two heads of attention, of one size for queries and keys and another for values."""
    size, value_size = place.channels, place.outputs
    both = size + value_size
    where = (Heads(0, size, size), Heads(0, both, size), Heads(size, both, value_size))
    options = (None, 2, *where, size**-0.5, "identity", None, None)
    layer = Compute(lambda query, memory: attention(query, memory, memory, *options))
    return layer, ((1, place.height, 2 * size), (1, place.width, 2 * both))


KINDS: dict[str, Callable[[Place], Case]] = {
    "pointwise": pointwise,
    "linear": fully_connected,
    "matmul": product,
    "attention": heads,
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_products_agree(kind: str, target: str, tmp_path: Path, rng: torch.Generator) -> None:
    agrees_over_the_grid(tmp_path, kind, KINDS[kind], target, rng)
