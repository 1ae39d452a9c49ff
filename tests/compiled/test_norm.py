"""Layer normalisation: rows of any length, with and without weights, and numbers far from zero."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.compiled.support import agrees, compare, compile_module, require_runner
from tests.programs import Shape

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", ["native", "x86-64-v3", "arm64"])
def test_rows_of_any_length(target: str, tmp_path: Path, rng: torch.Generator) -> None:
    """Lengths that no vector divides among them, and more than one axis at a time."""
    require_runner(target)

    class Norms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            shapes: list[tuple[int, ...]] = [(144,), (17,), (12,), (1, 8), (6, 10)]
            self.norms = nn.ModuleList([nn.LayerNorm(shape, eps=1e-3) for shape in shapes])
            self.plain = nn.LayerNorm(60, elementwise_affine=False)
            self.without_bias = nn.LayerNorm(60, bias=False)

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            outputs = [norm(x) for norm, x in zip(self.norms, inputs, strict=True)]
            rows = inputs[-1].flatten(-2)
            return (*outputs, self.plain(rows), self.without_bias(rows))

    shapes: list[Shape] = [(2, 65, 144), (3, 5, 17), (1, 12), (2, 3, 1, 8), (7, 6, 10)]
    agrees(tmp_path, "norms", Norms(), *shapes, rng=rng, target=target)


def test_a_mean_far_from_zero_does_not_cancel(tmp_path: Path, rng: torch.Generator) -> None:
    module = nn.LayerNorm(96)
    sample = torch.randn((50, 96), generator=rng) + 30
    package = compile_module(tmp_path / "far", module, [sample]).package
    compare(package, module, [torch.randn((50, 96), generator=rng) + 30])


def test_a_constant_row_gives_the_bias(tmp_path: Path, rng: torch.Generator) -> None:
    module = nn.LayerNorm(32)
    with torch.no_grad():
        module.bias.copy_(torch.randn(32, generator=rng))
    sample = torch.randn((4, 32), generator=rng)
    package = compile_module(tmp_path / "flat", module, [sample]).package
    compare(package, module, [torch.full((4, 32), 3.0)])
