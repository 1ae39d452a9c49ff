"""Every kernel of convolutions against its operator in PyTorch, over a grid of shapes that no vector divides."""

from collections.abc import Callable
from dataclasses import astuple
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lwc.ops import conv2d, separable_conv2d
from lwc.targets.kernels import winograd
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.depthwise import KERNELS
from tests.compiled.grid import CHANNELS, GRID, SIZES, STEPS, TARGETS, Case, Place, agrees_over_the_grid
from tests.programs import Compute


def dense(place: Place, groups: int = 1, layout: str = "NHWC") -> Case:
    """All channels of a group together; so many channels and results in each group."""
    n, h, w, c = place.image
    owner = nn.Conv2d(groups * c, groups * place.outputs, 3, groups=groups)
    options = (*place.window, groups, "hardswish", None, None, layout, "NHWC")
    shape = (n, h, w, groups * c) if layout == "NHWC" else (n, groups * c, h, w)
    return Compute(lambda own, x: conv2d(x, own.weight, own.bias, None, *options), owner), (shape,)


def depthwise(kernel: str) -> Callable[[Place], Case]:
    """Each channel by itself, computed by `kernel`."""

    def case(place: Place) -> Case:
        owner = nn.Conv2d(place.channels, place.channels, 3, groups=place.channels)
        options = (*place.window, place.channels, "identity", -1.0, 6.0, "NHWC", "NHWC", kernel)
        return Compute(lambda own, x: conv2d(x, own.weight, own.bias, None, *options), owner), (place.image,)

    return case


def separable(place: Place) -> Case:
    """A depthwise convolution and the pointwise one that reads it."""
    window = nn.Conv2d(place.channels, place.channels, 3, groups=place.channels)
    after = nn.Conv2d(place.channels, place.outputs, 1)
    clamp = ("identity", -1.0, 6.0)

    def both(window: nn.Conv2d, after: nn.Conv2d, x: torch.Tensor) -> Any:
        first = (x, window.weight, window.bias, *place.window, *clamp)
        return separable_conv2d(*first, after.weight, after.bias, None, *clamp)

    return Compute(both, window, after), (place.image,)


KINDS: dict[str, Callable[[Place], Case]] = {
    "dense": dense,
    "winograd": dense,
    "stem": lambda place: dense(place, layout="NCHW"),
    "grouped": lambda place: dense(place, groups=3),
    **{kernel: depthwise(kernel) for kernel in KERNELS},
    "separable": separable,
}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_agree(
    kind: str, target: str, tmp_path: Path, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def suits(_shape: object, _outputs: int, window: Window, _target: object) -> bool:
        """Wherever the kernel is defined, and nowhere in the other kinds."""
        return kind == "winograd" and window.stride == window.dilation == (1, 1)

    monkeypatch.setattr(winograd, "suits", suits)
    agrees_over_the_grid(tmp_path, kind, KINDS[kind], target, rng)


def test_every_extent_meets_every_other() -> None:
    extents = (CHANNELS, CHANNELS, SIZES, SIZES, STEPS)
    for first, second in combinations(range(len(extents)), 2):
        pairs = {(place[first], place[second]) for place in map(astuple, GRID)}
        # 24 places cannot hold the 36 pairs of two channel counts, and miss a few more.
        assert len(pairs) >= min(19, len(extents[first]) * len(extents[second]))
