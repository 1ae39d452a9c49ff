"""PyTorch's two runs of the samples, and how many samples there are."""

import numpy as np
import pytest
import torch
from torch import nn

from lwc.errors import UnsupportedError
from lwc.package.reference import run_reference, sample_count, variations


class Affine(nn.Module):
    """Has a constant that is neither a parameter nor a buffer, and gives a scalar, a parameter and its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 2), 0.1))
        self.constant = torch.full((2, 2), 0.3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = x @ self.weight @ self.constant
        return y, y.mean(), self.weight, x, y.t()


def test_the_reference_is_run_in_both_precisions(rng: torch.Generator) -> None:
    module, x = Affine(), torch.randn((4, 3), generator=rng)
    reference = run_reference(module, [(x.numpy(),)])
    for double, single, shape in zip(
        reference.float64, reference.float32, [(4, 2), (), (3, 2), (4, 3), (2, 4)], strict=True
    ):
        assert double.dtype == np.float64
        assert single.dtype == np.float32
        assert double.shape == single.shape == (1, *shape)
        assert double.flags.c_contiguous
        assert np.allclose(double, single, atol=1e-6)
    exact = x.double().numpy() @ np.full((3, 2), np.float32(0.1), np.float64)
    exact = exact @ np.full((2, 2), np.float32(0.3), np.float64)
    assert np.abs(reference.float64[0][0] - exact).max() < 1e-15
    assert module.weight.dtype == module.constant.dtype == torch.float32


class Casting(nn.Module):
    """Mixes float32, which it insists on, with its weight's type."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.float32) @ self.weight


def test_a_module_that_cannot_run_in_float64() -> None:
    with pytest.raises(UnsupportedError, match="Casting: PyTorch cannot run it in float64"):
        run_reference(Casting(), [(np.ones((1, 3), np.float32),)])


@pytest.mark.parametrize(
    ("elements", "count"), [(1, 8), (10, 8), (125, 8), (200, 5), (999, 2), (1000, 1), (10**6, 1)]
)
def test_a_small_output_takes_several_samples(elements: int, count: int) -> None:
    assert sample_count(elements) == count


def test_variations_hold_the_same_numbers_moved() -> None:
    row, scalar = np.arange(8, dtype=np.float32).reshape(1, 8), np.array(3.0, np.float32)
    moved = variations((row, scalar), 4)
    assert [list(first[0, :2]) for first, _ in moved] == [[0, 1], [6, 7], [4, 5], [2, 3]]
    assert all(set(first.flat) == set(row.flat) and second == 3 for first, second in moved)


def test_outputs_of_several_samples_lie_along_the_first_axis() -> None:
    samples = variations((np.arange(6, dtype=np.float32).reshape(2, 3),), 3)
    reference = run_reference(nn.Flatten(), samples)
    assert reference.float32[0].shape == reference.float64[0].shape == (3, 2, 3)
    assert np.array_equal(reference.float32[0], np.stack([array for (array,) in samples]))
