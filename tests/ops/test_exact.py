"""float32 arithmetic with one result: a multiplication and an addition rounded once, and exponentials made of them."""

from fractions import Fraction

import pytest
import torch

from lwc.ops.activation import ACTIVATIONS
from lwc.ops.exact import ACTIVATIONS as EXACT
from lwc.ops.exact import multiply_add

EPSILON = torch.finfo(torch.float32).eps


def nearest(value: Fraction, near: float) -> float:
    """The float32 nearest to `value`, which is a step or less from `near`; of two the even one."""
    middle = torch.tensor(near, dtype=torch.float32)
    steps = [middle, *(torch.nextafter(middle, torch.tensor(end)) for end in (-torch.inf, torch.inf))]
    distance = [abs(Fraction(float(step)) - value) for step in steps]
    closest = [step for step, d in zip(steps, distance, strict=True) if d == min(distance)]
    even = [step for step in closest if int(step.view(torch.int32)) % 2 == 0]
    return float((closest if len(closest) == 1 else even)[0])


def test_a_product_and_a_sum_are_rounded_once(rng: torch.Generator) -> None:
    a, b, c = (torch.randn(2000, generator=rng) for _ in range(3))
    # Sums of any size beside the product.
    c *= 2.0 ** torch.randint(-30, 30, (2000,), generator=rng)
    for got, *terms in zip(multiply_add(a, b, c).tolist(), a.tolist(), b.tolist(), c.tolist(), strict=True):
        x, y, z = map(Fraction, terms)
        assert got == nearest(x * y + z, got), terms


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_sum_beside_the_middle_of_two_numbers_goes_to_its_own_side(step: int, sign: float) -> None:
    c = 1 + step * EPSILON
    # Half a step, less 2^-70: float64 loses that, and takes the sum for the middle.
    a, b = sign * (1 + EPSILON) * EPSILON / 2, 1 - EPSILON
    assert float(multiply_add(torch.tensor([a]), b, c)) == c


@pytest.mark.parametrize("name", EXACT)
def test_activations_are_those_of_pytorch(name: str, rng: torch.Generator) -> None:
    x = torch.cat([4 * torch.randn(4096, generator=rng), torch.linspace(-200, 200, 4001)])
    want = ACTIVATIONS[name](x.double())
    error = (EXACT[name](x).double() - want).abs()
    assert (error <= 4 * EPSILON * want.abs().clamp_min(1)).all(), float(error.max())
