"""Where Winograd's minimal filtering is chosen, and its transforms of the weights."""

import numpy as np
import pytest

from lwc.targets import arm64, x86_64_v3, x86_64_v4
from lwc.targets.kernels import winograd
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.target import Target

V4 = x86_64_v4.TARGET
SAME = (1, 1, 1, 1)


def window(kernel: int = 3, stride: int = 1, dilation: int = 1) -> Window:
    return Window((kernel, kernel), (stride, stride), SAME, (dilation, dilation))


@pytest.mark.parametrize("target", [V4, x86_64_v3.TARGET, arm64.TARGET], ids=lambda target: target.name)
@pytest.mark.parametrize(("size", "channels"), [(32, 96), (16, 128), (8, 160), (7, 32), (56, 64)])
def test_layers_of_networks(size: int, channels: int, target: Target) -> None:
    assert winograd.suits((1, size, size, channels), channels, window(), target)


@pytest.mark.parametrize(
    ("shape", "outputs", "geometry"),
    [
        ((1, 32, 32, 64), 64, window(stride=2)),
        ((1, 32, 32, 64), 64, window(dilation=2)),
        ((1, 32, 32, 64), 64, window(kernel=5)),
        # Transforms cost as much as they save.
        ((1, 32, 32, 3), 64, window()),
        ((1, 32, 32, 64), 8, window()),
        # Most of a tile lies outside of the image.
        ((1, 1, 1, 64), 64, window()),
        ((1, 3, 3, 64), 64, window()),
        # A row of tiles is far more than the cache.
        ((1, 8, 2048, 256), 256, window()),
        # Rows of 17 tiles leave registers idle.
        ((1, 3, 34, 64), 64, window()),
    ],
)
def test_the_direct_kernel_is_kept(shape: tuple[int, ...], outputs: int, geometry: Window) -> None:
    assert not winograd.suits(shape, outputs, geometry, V4)


def test_a_constant_filter_is_transformed_as_by_hand() -> None:
    """G (1 1 1)^T = (1, 1.5, 0.5, 1)^T, and the filter of ones is its outer product."""
    kernel = winograd.plan((1, 8, 8, 16), 16, window(), Epilogue(), V4)
    packed = winograd.pack(kernel, np.ones((16, 16, 3, 3), np.float32))
    line = np.array([1, 1.5, 0.5, 1], np.float32)
    assert np.array_equal(packed[:, :, 0, 0, 0], np.outer(line, line))
