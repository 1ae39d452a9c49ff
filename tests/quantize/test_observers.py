"""Which range of an activation becomes the 256 integers."""

from typing import Any

import pytest
import torch

from lwc.quantize.choices import DEFAULT_OBSERVER, OBSERVERS
from lwc.quantize.observers import OBSERVER_CLASSES

Range = tuple[float, float]


def measured(name: str, batches: list[torch.Tensor]) -> Range:
    """The real numbers of the integers 0 and 255."""
    observer: Any = OBSERVER_CLASSES[name](
        dtype=torch.uint8, qscheme=torch.per_tensor_affine, quant_min=0, quant_max=255, eps=2.0**-30
    )
    for batch in batches:
        observer(batch)
    scale, zero_point = (float(value) for value in observer.calculate_qparams())
    return -zero_point * scale, (255 - zero_point) * scale


@pytest.fixture
def batches(rng: torch.Generator) -> list[torch.Tensor]:
    """Normal numbers, and two that are far out."""
    found = [torch.randn(20_000, generator=rng) for _ in range(10)]
    found[4][7], found[6][5] = 40.0, -20.0
    return found


def test_every_observer_has_a_class() -> None:
    assert set(OBSERVERS) == set(OBSERVER_CLASSES)
    assert DEFAULT_OBSERVER in OBSERVERS


def test_minmax_keeps_all(batches: list[torch.Tensor]) -> None:
    assert measured("minmax", batches) == pytest.approx((-20.0, 40.0), abs=0.3)


def test_a_moving_average_forgets(batches: list[torch.Tensor]) -> None:
    low, high = measured("moving-average", batches)
    assert -5 < low < -3
    assert 3 < high < 5


def test_the_percentile_leaves_a_ten_thousandth_outside(batches: list[torch.Tensor]) -> None:
    low, high = measured("percentile", batches)
    values = torch.cat(batches)
    # Of 200000 numbers 20, give or take what a histogram of 2048 bins and 256 steps can tell.
    assert 5 <= int(((values < low) | (values > high)).sum()) <= 60


def test_the_least_squared_error_leaves_out_what_is_far_out(batches: list[torch.Tensor]) -> None:
    low, high = measured("mse", batches)
    assert -20.5 < low < -2
    assert 2 < high < 40.5
    assert high - low < 0.9 * 60


@pytest.mark.parametrize("name", OBSERVERS)
def test_a_tensor_of_one_value(name: str) -> None:
    """Zero is an integer, whatever was measured."""
    low, high = measured(name, [torch.full((100,), 3.0)])
    assert low == 0
    assert high == pytest.approx(3.0, rel=0.01)
    low, high = measured(name, [torch.zeros(100)])
    assert low <= 0 <= high
