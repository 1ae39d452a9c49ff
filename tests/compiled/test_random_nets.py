"""Random convolutions of every kind, odd in all their sizes: compiled together, each branch an output."""

from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.compiled.support import compare, compile_module, require_runner
from tests.programs import random_inputs, randomize

pytestmark = pytest.mark.slow

BRANCHES = 12
CHANNELS = (1, 3, 5, 8, 16, 17, 24, 40)
KERNELS = ((1, 1), (3, 3), (5, 5), (2, 2), (1, 7), (3, 2))
T = TypeVar("T")
ACTIVATIONS = (nn.Identity, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.LeakyReLU, nn.GELU, nn.Sigmoid)


class Draw:
    """Choices from a generator."""

    def __init__(self, rng: torch.Generator) -> None:
        self._rng = rng

    def number(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        return int(torch.randint(low, high + 1, (), generator=self._rng))

    def of(self, choices: tuple[T, ...]) -> T:
        """One of `choices`."""
        return choices[self.number(0, len(choices) - 1)]


class Layer(nn.Module):
    """Asymmetric padding, a convolution of a random kind, perhaps a batch norm, and an activation."""

    def __init__(self, inputs: int, draw: Draw) -> None:
        super().__init__()
        kernel = draw.of(KERNELS)
        kind = draw.of(("dense", "depthwise", "grouped", "pointwise"))
        if kind == "pointwise":
            kernel = (1, 1)
        self.outputs = inputs * draw.of((1, 1, 2)) if kind == "depthwise" else draw.of(CHANNELS)
        groups = inputs if kind == "depthwise" else 1
        if kind == "grouped":
            groups = draw.of(tuple(g for g in (1, 2, 3, 4, 5, 8, 17) if inputs % g == 0))
            self.outputs = groups * draw.number(1, 9)
        dilation = draw.of((1, 1, 1, 2))
        self.padding = tuple(
            draw.number(0, dilation * (extent - 1)) for extent in kernel[::-1] for _ in range(2)
        )
        stride = (draw.of((1, 1, 2, 3)), draw.of((1, 1, 2)))
        self.convolution = nn.Conv2d(
            inputs,
            self.outputs,
            kernel,
            stride,
            dilation=dilation,
            groups=groups,
            bias=draw.of((True, False)),
        )
        self.norm = nn.BatchNorm2d(self.outputs) if draw.of((True, False)) else nn.Identity()
        self.activation = draw.of(ACTIVATIONS)()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.activation(self.norm(self.convolution(functional.pad(x, self.padding))))
        return y


class RandomNet(nn.Module):
    """Branches of two layers each, on maps of random odd sizes."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.channels = [draw.of(CHANNELS) for _ in range(BRANCHES)]
        self.branches = nn.ModuleList(self._branch(channels, draw) for channels in self.channels)
        self.shapes = tuple(
            (draw.of((1, 1, 2)), channels, draw.number(13, 37), draw.number(13, 37))
            for channels in self.channels
        )

    @staticmethod
    def _branch(channels: int, draw: Draw) -> nn.Sequential:
        layers = []
        for _ in range(2):
            layers.append(Layer(channels, draw))
            channels = layers[-1].outputs
        return nn.Sequential(*layers)

    def forward(self, *maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(branch(x) for branch, x in zip(self.branches, maps, strict=True))


def fits(layers: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether every window fits into its map."""
    try:
        layers(torch.zeros(shape))
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("target", ["native", "arm64", "x86-64-v3", "cuda:sm_75"])
def test_random_convolutions_agree(target: str, tmp_path: Path, rng: torch.Generator) -> None:
    require_runner(target)
    net = RandomNet(Draw(rng)).eval()
    pairs = [(b, s) for b, s in zip(net.branches, net.shapes, strict=True) if fits(b, s)]
    assert len(pairs) > BRANCHES * 2 // 3
    net.branches, shapes = nn.ModuleList(branch for branch, _ in pairs), tuple(shape for _, shape in pairs)
    randomize(net, rng)
    print(net, shapes)
    package = compile_module(tmp_path / "random", net, random_inputs(shapes, rng), target).package
    checks = compare(package, net, random_inputs(shapes, rng))
    # A branch may end in one number, or in zeros after a rectifier; most do not.
    assert sum(check.deviation > 0.05 for check in checks) > BRANCHES // 2
