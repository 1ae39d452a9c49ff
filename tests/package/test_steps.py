"""Elements of a tensor and the real numbers that they stand for, with numpy alone."""

import numpy as np
import pytest
import torch

import lwc.ops
from lwc.ops.requantize import single
from lwc.package.steps import Steps, dequantize, quantize


@pytest.mark.parametrize("zero_point", [0, 7, 128, 255])
def test_the_bits_are_those_of_the_operators(zero_point: int, rng: torch.Generator) -> None:
    steps = Steps("uint8", single(0.02 + float(torch.rand((), generator=rng))), zero_point)
    real = 3 * torch.randn(10_000, generator=rng)
    # Halves, and numbers far beyond.
    real[:600] = steps.scale * torch.arange(-300, 300) / 2
    real[600:602] = torch.tensor([3e38, -3e38])
    want = lwc.ops.quantize(real, single(1 / steps.scale), zero_point, "uint8")
    elements = quantize(real.numpy(), steps)
    assert elements.dtype == np.uint8
    assert np.array_equal(elements, want.numpy())
    back = dequantize(elements, steps)
    assert back.dtype == np.float32
    assert np.array_equal(back, lwc.ops.dequantize(want, torch.tensor(steps.scale), zero_point).numpy())


def test_float32_is_what_it_is() -> None:
    real = np.array([0.1, -3e38], np.float32)
    assert quantize(real, Steps()) is real
    assert dequantize(real, Steps()) is real


def test_a_step_is_the_nearest() -> None:
    steps = Steps("uint8", 0.5, 10)
    assert quantize(np.array([-9, -5, 0, 0.24, 0.25, 0.75, 1, 200], np.float32), steps).tolist() == [
        *(0, 0, 10, 10),
        *(10, 12, 12, 255),
    ]
    assert dequantize(np.array([0, 10, 11, 255], np.uint8), steps).tolist() == [-5, 0, 0.5, 122.5]
