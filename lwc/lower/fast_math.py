"""Vectorisable exponentials: TVM would call the C library's `expf` once for each element."""

from collections.abc import Callable
from functools import cache
from typing import Any

from lwc.tvm_api import register_intrin_lowering, tirx

Expression = Any

# exp(x) = 2^n exp(r) with n = round(x / ln 2) and |r| <= ln 2 / 2.
_LOG2_E, _LN2 = 1.44269504088896341, 0.693147180559945309
# exp(r) = 1 + r (...): the polynomial of this degree with the least relative error, 9e-8, found by Lawson's
# iteration (C. L. Lawson, "Contributions to the theory of linear least maximum approximation", 1961).
_EXP = (8.2903147429e-3, 4.1897929476e-2, 1.6667636196e-1, 4.9999149529e-1, 9.9999970719e-1, 1.0)
# Added to a small number it leaves its nearest integer, and 127, the exponent's bias, in the last bits.
_ROUNDING = 1.5 * 2**23 + 127
# erf(x) = 1 - exp(-x^2) P(t) for x from 0 to 4, t = 1 / (1 + 0.4 x): the form of Abramowitz and Stegun, "Handbook of
# Mathematical Functions" (1964), 7.1.26, with a polynomial of higher degree found in the same way; error 8e-9.
_ERF = (
    3.0293009164e-2,
    -3.4983419200e-1,
    1.0151600478,
    -7.0287441839e-1,
    6.6962090603e-1,
    9.7099978518e-2,
    2.4053466130e-1,
    0.0,
)
_ERF_SLOPE, _ERF_HIGHEST = 0.4, 4.0
# The argument is held between these: below, the result leaves the normal range of float32; above, the power of two
# does, though the result itself would stay finite to 88.72.
_LOWEST, _HIGHEST = -87.3, 88.3
# In a sigmoid, 1 / (1 + exp(-x)), it must: a number times what is not 0 there may be large. The power is infinity then.
_HIGHEST_OF_NEGATION = 89.0


@cache
def register_exponentials() -> None:
    """Tell TVM to lower float32 exp, erf and tanh to polynomials, in this process, on CPUs."""
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
    negated = _negated(value)
    x, sign = (value, 1.0) if negated is None else (negated, -1.0)
    lowest, highest = (_LOWEST, _HIGHEST) if sign > 0 else (-_HIGHEST_OF_NEGATION, -_LOWEST)
    clamped = _clamp(x, _constant(lowest, x), _constant(highest, x))
    return _with("x", clamped, lambda x: _exp_in_range(x, sign))


def _negated(value: Expression) -> Expression | None:
    """x where `value` is written as x * -1 or as 0 - x; None where it is neither."""
    if isinstance(value, tirx.Mul) and _is_number(value.b, -1.0):
        return value.a
    return value.b if isinstance(value, tirx.Sub) and _is_number(value.a, 0.0) else None


def _is_number(value: Expression, number: float) -> bool:
    scalar = value.value if isinstance(value, tirx.Broadcast) else value
    return isinstance(scalar, tirx.FloatImm) and float(scalar) == number


def _exp_in_range(x: Expression, sign: float = 1.0) -> Expression:
    """exp(sign * x), sign 1 or -1, for a result in the normal range: the sign goes into the constants."""
    rounding = _constant(_ROUNDING, x)
    coefficients = tuple(c * sign**power for power, c in zip(range(len(_EXP) - 1, -1, -1), _EXP, strict=True))

    def result(rounded: Expression) -> Expression:
        remainder = x - (rounded - rounding) * _constant(sign * _LN2, x)
        power = tirx.reinterpret(_lanes(x, "int32"), rounded) << tirx.const(23, _lanes(x, "int32"))
        return _with("r", remainder, lambda r: _polynomial(coefficients, r)) * tirx.reinterpret(
            _dtype(x), power
        )

    return _with("rounded", x * _constant(sign * _LOG2_E, x) + rounding, result)


def _polynomial(coefficients: tuple[float, ...], x: Expression) -> Expression:
    """By Horner's rule, the coefficient of the highest power first."""
    value = _constant(coefficients[0], x)
    for coefficient in coefficients[1:]:
        value = value * x + _constant(coefficient, x)
    return value


def _tanh(value: Expression) -> Expression:
    # 1 - 2 / (1 + exp(2x)) cancels near 0, but its absolute error stays at one unit in the last place of 1.
    one, two = _constant(1.0, value), _constant(2.0, value)
    return one - two / (one + _exp(two * value))


def _erf(value: Expression) -> Expression:
    zero, one = _constant(0.0, value), _constant(1.0, value)

    def of_magnitude(x: Expression) -> Expression:
        t = one / (one + _constant(_ERF_SLOPE, x) * x)
        complement = _with("t", t, lambda t: _polynomial(_ERF, t)) * _with("s", zero - x * x, _exp_in_range)
        return one - complement

    magnitude = _clamp(tirx.Select(value < zero, zero - value, value), zero, _constant(_ERF_HIGHEST, value))
    result = _with("m", magnitude, of_magnitude)
    return _with("y", result, lambda y: tirx.Select(value < zero, zero - y, y))


def _clamp(value: Expression, lowest: Expression, highest: Expression) -> Expression:
    """`value` between the bounds; NaN stays NaN, as no comparison with it holds."""
    above = _with("v", value, lambda v: tirx.Select(v < lowest, lowest, v))
    return _with("w", above, lambda w: tirx.Select(w > highest, highest, w))


def _with(name: str, value: Expression, body: Callable[[Expression], Expression]) -> Expression:
    """`body` of `value`, which is computed once."""
    variable = tirx.Var(name, _dtype(value))
    return tirx.Let(variable, value, body(variable))


_BEFORE_TVM_OWN = 100

_RULES = {
    "tirx.exp": _for_float32(_exp),
    "tirx.erf": _for_float32(_erf),
    "tirx.tanh": _for_float32(_tanh),
}
