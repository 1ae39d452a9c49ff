"""A grid of shapes that neither vectors nor tiles divide, and the test of a kernel over all of it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.compiled.support import agrees, require_runner
from tests.programs import Compute, Shape

# The best vector unit of this machine, the oldest of x86-64 that is supported, and 64-bit ARM's.
TARGETS = ("native", "x86-64-v3", "arm64")
CHANNELS = (1, 3, 5, 17, 24, 65)
SIZES = (1, 7, 13, 15)
# Stride and dilation.
STEPS = ((1, 1), (2, 1), (1, 2))


@dataclass(frozen=True)
class Place:
    """One point of the grid."""

    channels: int
    outputs: int
    height: int
    width: int
    step: tuple[int, int]

    @property
    def image(self) -> Shape:
        """An image of this size, NHWC."""
        return (1, self.height, self.width, self.channels)

    @property
    def window(self) -> tuple[list[int], list[int], list[int]]:
        """Stride, padding and dilation of a window of 3 x 3 that reaches over each border."""
        stride, dilation = self.step
        return [stride, stride], [dilation] * 4, [dilation, dilation]


# All pairs of channels and heights; the other extents go on at a pace of their own, so that they pair up, too.
GRID = tuple(
    Place(
        channels=CHANNELS[i],
        outputs=CHANNELS[(i + j) % len(CHANNELS)],
        height=SIZES[j],
        width=SIZES[(3 * i + j + i // 2) % len(SIZES)],
        step=STEPS[(i + 2 * j) % len(STEPS)],
    )
    for i in range(len(CHANNELS))
    for j in range(len(SIZES))
)

# A layer, and the shapes of what it reads.
Case = tuple[nn.Module, tuple[Shape, ...]]


def agrees_over_the_grid(
    folder: Path, name: str, case_at: Callable[[Place], Case], target: str, rng: torch.Generator
) -> None:
    """The layers of all places, each an output of one model: what `target`'s library gives agrees with PyTorch."""
    require_runner(target)
    layers, shapes = zip(*map(case_at, GRID), strict=True)

    def all_of(*values: Any) -> tuple[Any, ...]:
        own, inputs = values[: len(GRID)], iter(values[len(GRID) :])
        return tuple(layer(*islice(inputs, len(read))) for layer, read in zip(own, shapes, strict=True))

    flat = [shape for read in shapes for shape in read]
    # The operators are lwc's own: no pass chooses another kernel.
    agrees(folder, name, Compute(all_of, *layers), *flat, rng=rng, target=target, passes="remove-identities")
