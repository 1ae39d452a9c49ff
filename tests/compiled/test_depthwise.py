"""Every kernel of a depthwise convolution, by itself and with the pointwise one after it, on every kind of target."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.targets.kernels import separable
from lwc.targets.kernels.depthwise import KERNELS
from tests.compiled.support import agrees, compile_module, require_runner, results
from tests.programs import Compute, Shape

pytestmark = pytest.mark.slow

TARGETS = ("native", "x86-64-v3", "arm64")
# Image, output channels, padding (left, right, top, bottom), and the options of the depthwise convolution.
LAYERS: dict[str, tuple[Shape, int, tuple[int, int, int, int], dict[str, object]]] = {
    "no border": ((1, 16, 9, 11), 8, (0, 0, 0, 0), {"kernel_size": 3}),
    "border": ((2, 32, 8, 14), 24, (1, 1, 1, 1), {"kernel_size": 3}),
    "stride 2, odd sizes": ((1, 24, 15, 13), 40, (1, 1, 1, 1), {"kernel_size": 3, "stride": 2}),
    "border on two sides": ((1, 48, 14, 14), 16, (0, 1, 0, 1), {"kernel_size": 3, "stride": 2}),
    "dilated": ((1, 8, 11, 10), 16, (3, 2, 2, 3), {"kernel_size": 3, "dilation": (3, 2)}),
    "channels that no vector divides": ((1, 17, 7, 7), 5, (1, 1, 1, 1), {"kernel_size": 3}),
    "one channel": ((1, 1, 6, 5), 3, (1, 1, 1, 1), {"kernel_size": 3}),
    "one pixel": ((3, 20, 1, 1), 6, (1, 1, 1, 1), {"kernel_size": 3}),
    "one row": ((1, 16, 1, 19), 16, (0, 2, 0, 0), {"kernel_size": (1, 5), "stride": (1, 3)}),
    "border wider than the image": ((1, 16, 3, 2), 16, (4, 4, 3, 4), {"kernel_size": 5}),
    "5 x 5": ((1, 40, 9, 9), 8, (2, 2, 2, 2), {"kernel_size": 5}),
    "7 x 7": ((2, 32, 17, 33), 16, (3, 3, 3, 3), {"kernel_size": 7}),
}


def layers(name: str) -> nn.Sequential:
    """A depthwise convolution with a clamp, and a pointwise one with a curve."""
    (_, channels, *_), outputs, padding, options = LAYERS[name]
    depthwise = nn.Conv2d(channels, channels, groups=channels, **options)  # type: ignore[arg-type]
    pointwise = nn.Conv2d(channels, outputs, 1, bias=outputs != 16)
    return nn.Sequential(nn.ZeroPad2d(padding), depthwise, nn.ReLU6(), pointwise, nn.Hardswish())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", ["auto", *KERNELS, separable.NAME])
def test_agrees(kernel: str, target: str, tmp_path: Path, rng: torch.Generator) -> None:
    require_runner(target)
    count = len(LAYERS)
    net = Compute(
        lambda *all_: tuple(own(x) for own, x in zip(all_[:count], all_[count:], strict=True)),
        *map(layers, LAYERS),
    )
    passes = f"default,-select-depthwise-kernel,select-depthwise-kernel{{kernel={kernel}}}"
    shapes = tuple(shape for shape, *_ in LAYERS.values())
    agrees(tmp_path, kernel, net, *shapes, rng=rng, target=target, passes=passes)


@pytest.mark.parametrize("kernel", [*KERNELS, separable.NAME])
def test_infinity_stays_beside_the_border(kernel: str, tmp_path: Path, rng: torch.Generator) -> None:
    """Zeros of the border are not pixels multiplied by zero, which infinity would make NaN."""
    window, pointwise = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 16, 1)
    net = Compute(
        lambda window, pointwise, x: pointwise(functional.relu6(window(x.square().square().square()))),
        window,
        pointwise,
    )
    with torch.no_grad():
        window.weight.copy_(torch.rand(window.weight.shape, generator=rng) + 0.1)
    passes = f"default,-select-depthwise-kernel,select-depthwise-kernel{{kernel={kernel}}}"
    x = torch.rand(1, 16, 7, 7, generator=rng)
    package = compile_module(tmp_path / "infinity", net, (x,), passes=passes).package
    x[0, :, 0, 0] = 1e10
    with torch.no_grad():
        want = net(x)
    assert torch.isinf(x.square().square().square()).any()
    assert torch.isfinite(want).all()
    torch.testing.assert_close(torch.from_numpy(results(package, x.numpy())[0]), want, rtol=1e-4, atol=1e-4)
