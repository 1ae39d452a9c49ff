"""The epilogue of integer kernels: an accumulator becomes an 8-bit number, or a float32.

    v = acc m + r                        one fused multiply-add in float32; m is the channel's, r the residual's part
    y = round(clamp(activation(v) i, minimum, maximum)) + zero point

`lwc/ops/requantize.py` has the same in PyTorch. It gives the same bits on every machine: every step is one rounded
operation of IEEE 754 that no compiler may join with its neighbour.
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from lwc.targets.kernels.epilogue import ACTIVATIONS
from lwc.targets.kernels.intrinsic import register_intrinsic
from lwc.tvm_api import tirx

Expression = Any

_FMA, _ROUND = "tirx.lwc_fma", "tirx.lwc_round"


@dataclass(frozen=True)
class Requantize:
    """What follows an int32 accumulator; `dtype` is the result's, and `zero_point` None for float32."""

    dtype: str
    zero_point: int | None
    minimum: float | None
    maximum: float | None
    activation: str = "identity"
    inverse_scale: float = 1.0
    residual_multiplier: float = 1.0
    residual_zero_point: int = 0

    def __call__(
        self, accumulator: Expression, multiplier: Expression, residual: Expression | None = None
    ) -> Expression:
        """The expression of y for those of the accumulator (int32), m (float32) and the residual."""
        return self.store(self.real(accumulator, multiplier, residual))

    def real(
        self, accumulator: Expression, multiplier: Expression, residual: Expression | None = None
    ) -> Expression:
        """activation(v) i, neither bounded nor rounded."""
        value = fused_multiply_add(accumulator.astype("float32"), multiplier, self._addend(residual))
        return self._activate(value)

    def store(self, value: Expression) -> Expression:
        """The result for `value`, in units of its scale."""
        value = self.bounded(value)
        return value if self.zero_point is None else self.integer(value).astype(self.dtype)

    def bounded(self, value: Expression) -> Expression:
        """`value` between the bounds."""
        if self.minimum is not None:
            value = tirx.max(value, _float(self.minimum))
        if self.maximum is not None:
            value = tirx.min(value, _float(self.maximum))
        return value

    def integer(self, value: Expression) -> Expression:
        """`value`, rounded, and the zero point, as an int32."""
        return rounded(value) + tirx.const(self.zero_point, "int32")

    def saturates(self, largest: float) -> bool:
        """Whether an int32 that saturates to the type is bounded enough, where |v| is at most `largest`."""
        if self.zero_point is None or self.activation != "identity" or self.inverse_scale != 1:
            return False
        limits = np.iinfo(self.dtype)
        bounds = (float(limits.min - self.zero_point), float(limits.max - self.zero_point))
        return (self.minimum, self.maximum) == bounds and largest < 2.0**30

    def _addend(self, residual: Expression | None) -> Expression:
        if residual is None:
            return _float(0.0)
        if str(residual.ty).startswith("float32"):
            return residual
        centred = residual.astype("int32") - tirx.const(self.residual_zero_point, "int32")
        return centred.astype("float32") * _float(self.residual_multiplier)

    def _activate(self, value: Expression) -> Expression:
        if self.activation == "identity":
            return value if self.inverse_scale == 1 else value * _float(self.inverse_scale)
        if self.activation == "hardswish":
            clamped = tirx.max(tirx.min(value + _float(3.0), _float(6.0)), _float(0.0))
            return value * clamped * _float(self.inverse_scale / 6)
        return ACTIVATIONS[self.activation](value) * _float(self.inverse_scale)


def quantize(value: Expression, inverse_scale: float, how: Requantize) -> Expression:
    """A float32 as an integer."""
    return how.store(value * _float(inverse_scale))


def fused_multiply_add(a: Expression, b: Expression, c: Expression) -> Expression:
    """a b + c of float32 numbers or vectors, rounded once, which no compiler joins with anything else."""
    _register()
    return tirx.call_intrin(str(a.ty), _FMA, a, b, c)


def rounded(value: Expression) -> Expression:
    """The int32 nearest to a float32, of two the even one."""
    _register()
    return tirx.call_intrin("int32", _ROUND, value)


@cache
def _register() -> None:
    """Tell TVM of the intrinsics, which it vectorises; its own rounding it does not."""
    for name, llvm, cuda in ((_FMA, "llvm.fma", "__fmaf_rn"), (_ROUND, "llvm.lrint", "__float2int_rn")):
        register_intrinsic(name, partial(_lower, llvm), partial(_lower_for_gpu, cuda))


def _lower(llvm: str, call: Any) -> Any:
    return tirx.call_llvm_pure_intrin(str(call.ty), llvm, *call.args)


def _lower_for_gpu(function: str, call: Any) -> Any:
    return tirx.call_pure_extern(str(call.ty), function, *call.args)


def _float(value: float) -> Expression:
    return tirx.const(value, "float32")
