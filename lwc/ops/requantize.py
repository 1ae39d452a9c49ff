"""The arithmetic of quantized operators: how an exact sum of integers becomes an 8-bit number, or a float32.

    real number = scale (q - zero point)
    v = acc m + r                       in float32, rounded once: m is the channel's multiplier, r the residual's part
    q = round(clamp(activation(v) i, minimum, maximum)) + zero point             round half to even

(B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, section 2; the multiplication is in float32 instead of fixed point.) Sums are exact: they are computed in
float64, which holds every integer up to 2^53.
"""

import torch

from lwc.ops.exact import ACTIVATIONS, multiply_add

# The part of a residual is exact in float32: nine bits of a centred byte times these of its multiplier.
RESIDUAL_BITS = 15


def requantize(
    accumulator: torch.Tensor,
    multiplier: torch.Tensor,
    residual: torch.Tensor | None,
    residual_multiplier: float,
    residual_zero_point: int,
    activation: str,
    inverse_scale: float,
    minimum: float | None,
    maximum: float | None,
    zero_point: int | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """`accumulator` (float64, whole numbers; channels last) as `dtype`, or float32 where `zero_point` is None.

    multiplier: (channels,); residual: like the result, 8-bit or float32.
    """
    value = multiply_add(accumulator, multiplier, _addend(residual, residual_multiplier, residual_zero_point))
    value = _activate(value, activation, inverse_scale)
    if minimum is not None or maximum is not None:
        value = value.clamp(minimum, maximum)
    if zero_point is None:
        return value.to(multiplier.dtype)
    return (value.round() + zero_point).to(dtype)


def _addend(residual: torch.Tensor | None, multiplier: float, zero_point: int) -> torch.Tensor | float:
    if residual is None:
        return 0.0
    if residual.is_floating_point():
        return residual
    return (residual.int() - zero_point).float() * multiplier


def _activate(value: torch.Tensor, activation: str, inverse_scale: float) -> torch.Tensor:
    if activation == "identity":
        return value if inverse_scale == 1 else value * inverse_scale
    if activation == "hardswish":
        # The division by six in the scale.
        return value * (value + 3).clamp(0, 6) * single(inverse_scale / 6)
    return ACTIVATIONS[activation](value) * inverse_scale


def single(value: float) -> float:
    """`value` rounded to float32."""
    return float(torch.tensor(value, dtype=torch.float32))


def residual_multiplier(value: float) -> float:
    """`value` rounded to so few bits that its product with a centred byte is exact."""
    mantissa, exponent = torch.frexp(torch.tensor(value, dtype=torch.float64))
    return float(torch.ldexp(torch.round(mantissa * 2**RESIDUAL_BITS), exponent - RESIDUAL_BITS))
