"""3x3 convolutions with fewer multiplications: every border, odd sizes, batches, and what comes after them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lwc.package.manifest import read_manifest
from tests.compiled.support import agrees, compare, compile_module, require_runner
from tests.programs import Compute, Shape

pytestmark = pytest.mark.slow

# Image, output channels, padding (left, right, top, bottom).
LAYERS: dict[str, tuple[Shape, int, tuple[int, int, int, int]]] = {
    "no border": ((1, 32, 10, 18), 48, (0, 0, 0, 0)),
    "border": ((1, 24, 16, 16), 40, (1, 1, 1, 1)),
    "odd results": ((2, 16, 13, 15), 32, (1, 1, 1, 1)),
    "border on two sides": ((1, 48, 17, 17), 22, (0, 1, 0, 1)),
    "wide border": ((3, 20, 6, 6), 64, (2, 3, 2, 1)),
}


@pytest.mark.parametrize("target", ["native", "x86-64-v3", "arm64"])
def test_agrees(target: str, tmp_path: Path, rng: torch.Generator) -> None:
    require_runner(target)

    def layers(name: str) -> nn.Sequential:
        (_, channels, *_), outputs, padding = LAYERS[name]
        convolution = nn.Conv2d(channels, outputs, 3, bias=outputs != 32)
        return nn.Sequential(nn.ZeroPad2d(padding), convolution, nn.SiLU())

    count = len(LAYERS)
    net = Compute(
        lambda *all_: tuple(own(x) for own, x in zip(all_[:count], all_[count:], strict=True)),
        *map(layers, LAYERS),
    )
    agrees(tmp_path, "winograd", net, *(shape for shape, *_ in LAYERS.values()), rng=rng, target=target)
    kernels = [call.kernel for call in read_manifest(tmp_path / "winograd").calls]
    assert sum(kernel.startswith("lwc_winograd") for kernel in kernels) == count


def test_a_residual_is_added(tmp_path: Path, rng: torch.Generator) -> None:
    net = Compute(
        lambda body, x: torch.relu(body(x) + x),
        nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1)),
    )
    agrees(tmp_path, "residual", net, (1, 24, 14, 14), rng=rng)


def test_pixels_that_differ_by_orders_of_magnitude(tmp_path: Path, rng: torch.Generator) -> None:
    """Transforms subtract neighbours: what cancels is as small as the error of a direct sum."""
    module = nn.Conv2d(32, 32, 3, padding=1)
    sample = torch.randn((1, 32, 16, 16), generator=rng)
    package = compile_module(tmp_path / "scales", module, [sample]).package
    scales = 10.0 ** (4 * torch.rand((1, 32, 16, 16), generator=rng) - 2)
    compare(package, module, [torch.randn((1, 32, 16, 16), generator=rng) * scales])
