"""The cost model of two convolutions on a GPU: which it joins, and how costs move with image and GPU."""

from dataclasses import replace

import pytest

from lwc.targets.gpu import Gpu
from lwc.targets.kernels import separable
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.cuda.separable_cost import APART, kernel_costs, separable_tile

GPU = Gpu("sm_80", multiprocessors=108)
SAME = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))


def saved(channels: int, outputs: int, size: int, batch: int = 1, gpu: Gpu = GPU) -> float:
    """Cycles that one kernel saves."""
    costs = kernel_costs((batch, size, size, channels), SAME, outputs, gpu)
    assert list(costs) == [APART, separable.NAME]
    assert all(cost > 0 for cost in costs.values())
    return costs[APART] - costs[separable.NAME]


def test_early_layers_join_and_late_ones_do_not() -> None:
    assert saved(32, 64, 112) > 0
    assert saved(512, 512, 14) < 0
    assert saved(1024, 1024, 7) < 0


def test_what_is_saved_falls_with_the_outputs_that_compute_it_again() -> None:
    assert saved(128, 32, 28) > saved(128, 256, 28) > saved(128, 1024, 28)


def test_few_pixels_read_all_weights_once_by_themselves() -> None:
    assert saved(960, 320, 1) < 0


def test_a_window_costs_more_the_larger_it_is() -> None:
    shape = (1, 56, 56, 64)
    five = replace(SAME, kernel=(5, 5), padding=(2, 2, 2, 2))
    small, large = (kernel_costs(shape, window, 64, GPU) for window in (SAME, five))
    assert all(small[name] < large[name] for name in small)


@pytest.mark.parametrize("name", [APART, separable.NAME])
def test_costs_fall_with_multiprocessors(name: str) -> None:
    shape = (4, 56, 56, 64)
    costs = [kernel_costs(shape, SAME, 64, replace(GPU, multiprocessors=n))[name] for n in (16, 40, 108)]
    assert costs == sorted(costs, reverse=True)


def test_the_tile_takes_all_outputs_of_a_narrow_layer() -> None:
    assert separable_tile((1, 112, 112, 96), SAME, 24, GPU).columns >= 24
    assert separable_tile((8, 56, 56, 128), SAME, 128, GPU).columns == 128
