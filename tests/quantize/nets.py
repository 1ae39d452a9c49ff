"""Small nets, as they are when `--precision int8` quantizes them, and on integers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lwc.pipeline import Pipeline, run_pipeline
from lwc.quantize.data import CalibrationData
from lwc.quantizing import FLOAT_ONLY, Quantized, to_integers
from lwc.targets.resolve import resolve_target
from lwc.trace import Program
from tests.programs import program_of, random_inputs, randomize

IMAGE = (1, 3, 12, 12)
TOKENS = (1, 10, 16)
X86 = "x86-64-v3"

Samples = tuple[tuple[torch.Tensor, ...], ...]


class Convolutions(nn.Module):
    """A stem, a depthwise block with a residual, a mean and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.expand = nn.Conv2d(16, 24, 1)
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.project = nn.Conv2d(24, 16, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ten logits an image."""
        x = functional.relu6(self.stem_norm(self.stem(x)))
        y = functional.relu6(self.depthwise(functional.relu6(self.expand(x))))
        return torch.as_tensor(self.head((x + self.project(y)).mean((2, 3))))


class Tokens(nn.Module):
    """A block of a transformer without its attention: the trunk is read by layer norms and sums alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(3))
        self.layers = nn.ModuleList([nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 16)])
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ten numbers a token."""
        first, second, last = self.norms
        up, down, mix = self.layers
        x = x + mix(first(x))
        x = x + down(functional.gelu(up(second(x))))
        return torch.as_tensor(self.head(last(x)))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions": (Convolutions, IMAGE),
    "tokens": (Tokens, TOKENS),
}


def rewritten(
    module: nn.Module | Callable[..., Any], shape: tuple[int, ...], rng: torch.Generator, target: str = X86
) -> Program:
    """A module with random parameters as it is when `--precision int8` quantizes it."""
    return without_kernels(program_of(module, shape, rng=rng), target)


def without_kernels(program: Program, target: str = X86) -> Program:
    """The program after the passes that run before it is quantized."""
    passes = tuple(item for item in Pipeline.parse("default").passes if item.name != FLOAT_ONLY)
    return run_pipeline(Pipeline(passes), replace(program, target=resolve_target(target)))[0]


def samples_of(program: Program, rng: torch.Generator, count: int = 16) -> Samples:
    """Fresh inputs."""
    shapes = tuple(tuple(x.shape) for x in program.inputs)
    return tuple(random_inputs(shapes, rng) for _ in range(count))


def integers(program: Program, samples: Samples) -> Quantized:
    return to_integers(program, CalibrationData(samples, "noise"), lambda text: None)


class Harmed(nn.Module):
    """Two pointwise layers, of which the second one's input has one channel a thousand times as large as the others.

    Its weights are as much smaller there: the model says what it would say without that, but one step of 255 of the
    large channel is more than all of another one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1)
        self.third, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ten logits an image."""
        # Equalisation does not scale through it.
        x = functional.hardswish(self.first(x))
        x = functional.relu(self.third(functional.relu(self.second(x))))
        return torch.as_tensor(self.head(x.mean((2, 3))))


def harmed(rng: torch.Generator) -> Harmed:
    """With random parameters, and the channel large."""
    net = Harmed()
    randomize(net, rng)
    bias = net.first.bias
    assert bias is not None
    with torch.no_grad():
        # Above zero, where the activation lets it through.
        bias[0] = 2
        for tensor in (net.first.weight[0], bias[:1]):
            tensor *= 1000
        net.second.weight[:, 0] /= 1000
    return net.eval()
