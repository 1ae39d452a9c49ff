"""What happens to an accumulator before it is stored: bias, residual, activation, clamp."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lwc.tvm_api import tirx

Expression = Any


@dataclass(frozen=True)
class Epilogue:
    """y = clamp(activation(x + r), minimum, maximum); a bound of None does not clamp."""

    activation: str = "identity"
    minimum: float | None = None
    maximum: float | None = None

    def __call__(self, value: Expression, residual: Expression | None = None) -> Expression:
        """The expression of y for the expressions x, `value`, and r, `residual`; computed in float32."""
        if residual is not None:
            value = value + residual.astype("float32")
        value = ACTIVATIONS[self.activation](value)
        if self.minimum is not None:
            value = tirx.max(value, tirx.const(self.minimum, "float32"))
        if self.maximum is not None:
            value = tirx.min(value, tirx.const(self.maximum, "float32"))
        return value


def at(residual: Any, *place: Expression) -> Expression | None:
    """The element of the tensor `residual` at `place`; None where there is no residual."""
    return None if residual is None else residual(*place)


def _float(value: float) -> Expression:
    return tirx.const(value, "float32")


def _times_sigmoid(numerator: Expression, x: Expression) -> Expression:
    """`numerator` times the sigmoid of x, in one division."""
    return numerator / (_float(1) + tirx.exp(-x))


def _hardsigmoid(x: Expression) -> Expression:
    return tirx.max(tirx.min(x + _float(3), _float(6)), _float(0)) * _float(1 / 6)


ACTIVATIONS: dict[str, Callable[[Expression], Expression]] = {
    "identity": lambda x: x,
    "sigmoid": lambda x: _times_sigmoid(_float(1), x),
    "silu": lambda x: _times_sigmoid(x, x),
    "hardsigmoid": _hardsigmoid,
    "hardswish": lambda x: x * _hardsigmoid(x),
    # GELU in its exact form: x Phi(x) = x / 2 (1 + erf(x / sqrt 2)).
    "gelu": lambda x: x * _float(0.5) * (_float(1) + tirx.erf(x * _float(0.5**0.5))),
    "tanh": tirx.tanh,
}
