"""Vectorisable exponentials: TVM would call the C library's `expf` once for each element.

Every product and the sum after it are one fused multiply-add, by name: the same bits on every target.
`lwc/ops/exact.py` has the same in PyTorch.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

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
from lwc.targets.kernels.intrinsic import register_lowering, vectorize_calls
from lwc.targets.kernels.requantize import fused_multiply_add
from lwc.tvm_api import tirx

Expression = Any


@cache
def register_exponentials() -> None:
    """Tell TVM to lower float32 exp, erf and tanh to polynomials, in this process."""
    # TVM refuses a second registration, so it is done once.
    for name, rule in _RULES.items():
        register_lowering(name, rule)
        register_lowering(name, rule, "cuda")
    # TVM knows it of the others.
    vectorize_calls("tirx.erf")


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
    lowest, highest = (LOWEST, HIGHEST) if sign > 0 else (-HIGHEST_OF_NEGATION, -LOWEST)
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
    rounding = _constant(ROUNDING, x)

    def result(rounded: Expression) -> Expression:
        remainder = fused_multiply_add(rounded - rounding, _constant(-sign * LN2, x), x)
        power = tirx.reinterpret(_lanes(x, "int32"), rounded) << tirx.const(23, _lanes(x, "int32"))
        polynomial = _with("r", remainder, lambda r: _polynomial(signed(EXP, sign), r))
        return polynomial * tirx.reinterpret(_dtype(x), power)

    return _with("rounded", fused_multiply_add(x, _constant(sign * LOG2_E, x), rounding), result)


def _polynomial(coefficients: tuple[float, ...], x: Expression) -> Expression:
    """By Horner's rule, the coefficient of the highest power first."""
    value = _constant(coefficients[0], x)
    for coefficient in coefficients[1:]:
        value = fused_multiply_add(value, x, _constant(coefficient, x))
    return value


def _tanh(value: Expression) -> Expression:
    # 1 - 2 / (1 + exp(2x)) cancels near 0, but its absolute error stays at one unit in the last place of 1.
    one, two = _constant(1.0, value), _constant(2.0, value)
    return one - two / (one + _exp(two * value))


def _erf(value: Expression) -> Expression:
    zero, one = _constant(0.0, value), _constant(1.0, value)

    def of_magnitude(x: Expression) -> Expression:
        t = one / fused_multiply_add(_constant(ERF_SLOPE, x), x, one)
        polynomial = _with("t", t, lambda t: _polynomial(ERF, t))
        return fused_multiply_add(zero - polynomial, _with("s", zero - x * x, _exp_in_range), one)

    magnitude = _clamp(tirx.Select(value < zero, zero - value, value), zero, _constant(ERF_HIGHEST, value))
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


_RULES = {
    "tirx.exp": _for_float32(_exp),
    "tirx.erf": _for_float32(_erf),
    "tirx.tanh": _for_float32(_tanh),
}
