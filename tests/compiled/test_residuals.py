"""Additions inside kernels agree with PyTorch, where the channels fill vectors and where they do not."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.compiled.support import MAP, agrees, require_runner

pytestmark = pytest.mark.slow


class Residuals(nn.Module):
    """Each kind of layer with an addition after it, and an activation after that; each is an output."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(6, channels, 3, padding=1)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.dense = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.grouped = nn.Conv2d(channels, channels, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.window = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.project = nn.Conv2d(channels, channels, 1)
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One output a layer."""
        stem = self.stem(x)
        tokens = stem.flatten(2).transpose(1, 2)
        return (
            self.pointwise(stem) + stem,
            functional.relu6(self.dense(stem) + stem.tanh()),
            functional.silu(stem + self.grouped(stem)),
            (self.depthwise(stem) + stem).relu(),
            functional.silu(self.project(functional.relu6(self.window(stem))) + stem),
            functional.gelu(tokens + self.linear(tokens)),
        )


@pytest.mark.parametrize("target", ["native", "arm64"])
@pytest.mark.parametrize("kernel", ["rows", "separable"])
@pytest.mark.parametrize("channels", [48, 24, 10])
def test_additions_in_kernels_agree(
    channels: int, kernel: str, target: str, tmp_path: Path, rng: torch.Generator
) -> None:
    require_runner(target)
    passes = f"default,-select-depthwise-kernel,select-depthwise-kernel{{kernel={kernel}}}"
    agrees(tmp_path, f"residuals-{channels}", Residuals(channels), MAP, rng=rng, target=target, passes=passes)
