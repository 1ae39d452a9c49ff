"""Vectorisable exponentials: TVM would call the C library's `expf` once for each element."""

from collections.abc import Callable
from functools import cache
from typing import Any

from lwc.tvm_api import register_intrin_lowering, tirx

Expression = Any

# exp(x) = 2^n exp(r) with n = round(x / ln 2) and |r| <= ln 2 / 2; ln 2 in two parts keeps r exact.
# Constants and polynomial: expf of the Cephes library (S. L. Moshier, 1992), error about 1 ulp.
_LOG2_E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_POLYNOMIAL = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
# Outside, the result leaves the normal range of float32.
_LOWEST, _HIGHEST = -87.3, 88.3


@cache
def register_exponentials() -> None:
    """Tell TVM to lower float32 exp and tanh (and so sigmoid) to polynomials, in this process, on CPUs."""
    # TVM refuses a second registration, so it is done once.
    for name, rule in _RULES.items():
        register_intrin_lowering(name, target="llvm", f=rule, level=_BEFORE_TVM_OWN)


def _for_float32(formula: Callable[[Expression], Expression]) -> Callable[[Any], Any]:
    """A lowering rule that leaves other types to TVM's own."""

    def rule(call: Any) -> Any:
        return formula(call.args[0]) if _dtype(call).startswith("float32") else None

    return rule


def _dtype(value: Any) -> str:
    """Such as `float32x16`."""
    return str(value.ty)


def _lanes(value: Any, dtype: str) -> str:
    """`dtype` with as many lanes as `value` has."""
    _, x, lanes = _dtype(value).partition("x")
    return dtype + x + lanes


def _constant(value: float, like: Any) -> Any:
    return tirx.const(value, _dtype(like))


def _exp(value: Expression) -> Expression:
    x = tirx.Var("x", _dtype(value))
    n = tirx.Var("n", _dtype(value))
    r = tirx.Var("r", _dtype(value))
    clamped = tirx.max(tirx.min(value, _constant(_HIGHEST, value)), _constant(_LOWEST, value))
    rounded = tirx.floor(x * _constant(_LOG2_E, value) + _constant(0.5, value))
    remainder = x - n * _constant(_LN2_HIGH, value) - n * _constant(_LN2_LOW, value)
    polynomial = _constant(_POLYNOMIAL[0], value)
    for coefficient in _POLYNOMIAL[1:]:
        polynomial = polynomial * r + _constant(coefficient, value)
    mantissa = polynomial * r * r + r + _constant(1.0, value)
    integer = _lanes(value, "int32")
    exponent = (tirx.Cast(integer, n) + tirx.const(127, integer)) << tirx.const(23, integer)
    result = mantissa * tirx.reinterpret(_dtype(value), exponent)
    return tirx.Let(x, clamped, tirx.Let(n, rounded, tirx.Let(r, remainder, result)))


def _tanh(value: Expression) -> Expression:
    # 1 - 2 / (1 + exp(2x)) cancels near 0, but its absolute error stays at one unit in the last place of 1.
    one, two = _constant(1.0, value), _constant(2.0, value)
    return one - two / (one + _exp(two * value))


_BEFORE_TVM_OWN = 100

_RULES = {"tirx.exp": _for_float32(_exp), "tirx.tanh": _for_float32(_tanh)}
