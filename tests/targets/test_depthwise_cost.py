"""The cost model of depthwise kernels: what it ranks first for known layers, and how costs move with the machine."""

from dataclasses import replace

import pytest

from lwc.targets import arm64, x86_64_v3, x86_64_v4
from lwc.targets.kernels import separable
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.depthwise import KERNELS
from lwc.targets.kernels.depthwise_cost import kernel_costs
from lwc.targets.target import Target

V3, V4 = x86_64_v3.TARGET, x86_64_v4.TARGET
# Two cores of a server.
SERVER = replace(V4, l1_bytes=48 * 1024, cores=2)


def window(size: int, stride: int, kernel: int = 3) -> Window:
    """A window that pads as much as keeps the image's size (its half at stride 2)."""
    total = kernel - stride
    padding = (total // 2, total - total // 2) * 2
    return Window((kernel, kernel), (stride, stride), padding, (1, 1))


def best(
    size: int, channels: int, stride: int, target: Target, outputs: int | None = None, kernel: int = 3
) -> str:
    """The kernel that costs least."""
    shape = (1, size, size, channels)
    costs = kernel_costs(shape, window(size, stride, kernel), outputs, target)
    return min(costs, key=lambda name: costs[name])


@pytest.mark.parametrize(
    ("size", "channels", "stride", "kernel"),
    [
        # Pixels that lie a power of two apart share sets of the first cache: few reads win.
        (112, 64, 2, "rows"),
        (56, 128, 1, "rows"),
        (28, 256, 2, "rows"),
        # Others stay in it: few loads win.
        (56, 144, 1, "direct"),
        (28, 192, 1, "direct"),
        (14, 384, 1, "direct"),
        # Two rows at a time waste one of seven.
        (7, 960, 1, "direct"),
    ],
)
def test_layers_of_mobilenets(size: int, channels: int, stride: int, kernel: str) -> None:
    assert best(size, channels, stride, SERVER) == kernel


def test_a_large_window_on_a_large_map_is_copied() -> None:
    assert best(56, 96, 1, SERVER, kernel=7) == "padded"


@pytest.mark.parametrize("target", [SERVER, V3, arm64.TARGET])
def test_the_pointwise_convolution_joins_where_maps_are_large_and_weights_small(target: Target) -> None:
    assert best(112, 32, 1, target, outputs=64) == separable.NAME
    assert best(14, 512, 1, target, outputs=512) != separable.NAME
    assert best(7, 1024, 1, target, outputs=1024) != separable.NAME


def test_there_is_a_cost_for_each_kernel() -> None:
    alone = kernel_costs((1, 14, 14, 48), window(14, 1), None, V4)
    both = kernel_costs((1, 14, 14, 48), window(14, 1), 96, V4)
    assert list(alone) == [*KERNELS]
    assert list(both) == [*KERNELS, separable.NAME]
    assert all(0 < alone[name] < both[name] for name in alone)


@pytest.mark.parametrize("outputs", [None, 64])
def test_costs_fall_with_cores_and_vectors(outputs: int | None) -> None:
    def costs(target: Target) -> list[float]:
        return list(kernel_costs((1, 56, 56, 64), window(56, 1), outputs, target).values())

    one, two = costs(replace(V4, cores=1)), costs(replace(V4, cores=2))
    assert all(more > fewer for more, fewer in zip(one, two, strict=True))
    assert all(more > fewer for more, fewer in zip(costs(V3), costs(V4), strict=True))


@pytest.mark.parametrize("target", [SERVER, V3, arm64.TARGET])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 7, 17), (1, 2, 200, 6), (2, 31, 1, 40)])
def test_any_shape_has_a_cost(shape: tuple[int, ...], target: Target) -> None:
    for kernel in (1, 3, 5):
        padding = (kernel // 2,) * 4
        costs = kernel_costs(shape, Window((kernel, kernel), (1, 1), padding, (1, 1)), 10, target)
        assert all(cost > 0 for cost in costs.values())
