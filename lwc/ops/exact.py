"""Activations in float32 with one result: each step is one rounded operation of IEEE 754, as the kernels compute them.

`lwc/lower/fast_math.py` and `targets/kernels/epilogue.py` have the same as expressions of TVM.
"""

from collections.abc import Callable

import torch

from lwc.polynomials import (
    ERF,
    ERF_HIGHEST,
    ERF_SLOPE,
    EXP,
    HIGHEST,
    HIGHEST_OF_NEGATION,
    LN2,
    LOG2_E,
    LOWEST,
    ROUNDING,
    signed,
)

# Of a float64, the bits that float32 has no room for, and their value halfway between two numbers of float32.
_LOST, _HALF = (1 << 29) - 1, 1 << 28


def multiply_add(a: torch.Tensor, b: torch.Tensor | float, c: torch.Tensor | float) -> torch.Tensor:
    """a b + c of float32, rounded once to the nearest float32, of two the even one."""
    a, b, c = (torch.as_tensor(value, dtype=torch.float32).double() for value in (a, b, c))
    product = a * b  # exact: 24 bits by 24
    total = product + c
    # Rounded twice, a sum just beside the middle of two numbers may go the wrong way: keep the side it is on (S.
    # Boldo, G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd",
    # IEEE Transactions on Computers 57, 2008).
    middle = (total.view(torch.int64) & _LOST) == _HALF
    if middle.any():
        # What the sum lost, exactly (D. Knuth, "The Art of Computer Programming" 2, 4.2.2, theorem B).
        part = total - product
        lost = (product - (total - part)) + (c - part)
        away = torch.where(lost > 0, torch.inf, -torch.inf).to(total.dtype)
        total = torch.where(middle & (lost != 0), torch.nextafter(total, away), total)
    return total.float()


def _horner(coefficients: tuple[float, ...], x: torch.Tensor) -> torch.Tensor:
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = multiply_add(value, x, coefficient)
    return value


def _exp_in_range(x: torch.Tensor, sign: float = 1.0) -> torch.Tensor:
    """exp(sign x), sign 1 or -1."""
    rounded = multiply_add(x, sign * LOG2_E, ROUNDING)
    remainder = multiply_add(rounded - ROUNDING, -sign * LN2, x)
    power = (rounded.view(torch.int32) << 23).view(torch.float32)
    return _horner(signed(EXP, sign), remainder) * power


def exp(x: torch.Tensor) -> torch.Tensor:
    """exp(x), which stays in the normal range of float32."""
    return _exp_in_range(x.clamp(LOWEST, HIGHEST))


def _exp_of_negation(x: torch.Tensor) -> torch.Tensor:
    return _exp_in_range(x.clamp(-HIGHEST_OF_NEGATION, -LOWEST), -1.0)


def _erf(x: torch.Tensor) -> torch.Tensor:
    magnitude = x.abs().clamp(0, ERF_HIGHEST)
    t = 1 / multiply_add(magnitude, ERF_SLOPE, 1.0)
    y = multiply_add(-_horner(ERF, t), _exp_in_range(-(magnitude * magnitude)), 1.0)
    return torch.where(x < 0, -y, y)


def _hardsigmoid(x: torch.Tensor) -> torch.Tensor:
    return (x + 3).clamp(0, 6) * (1 / 6)


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + _exp_of_negation(x)),
    "silu": lambda x: x / (1 + _exp_of_negation(x)),
    "hardsigmoid": _hardsigmoid,
    "gelu": lambda x: x * 0.5 * (1 + _erf(x * 0.5**0.5)),
    "tanh": lambda x: 1 - 2 / (1 + exp(x * 2)),
}
