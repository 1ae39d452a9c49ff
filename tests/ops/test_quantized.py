"""Integer operators in PyTorch against plain integer arithmetic in numpy, and registered soundly."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lwc.ops import dequantize, dequantize_weight, qconv2d, qlinear, qmean, quantize
from lwc.ops.requantize import RESIDUAL_BITS, residual_multiplier, single

Integers = NDArray[np.int64]
Reals = NDArray[np.float32]

LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}
# A type, and a zero point in it: at both limits, near them, and in the middle.
BYTES = [
    ("uint8", 0),
    ("uint8", 255),
    ("uint8", 131),
    ("int8", -128),
    ("int8", 127),
    ("int8", -7),
    ("int8", 0),
]
# No residual, no activation, no bounds.
PLAIN: dict[str, Any] = {
    "residual": None,
    "residual_multiplier": 1.0,
    "residual_zero_point": 0,
    "activation": "identity",
    "inverse_scale": 1.0,
    "minimum": None,
    "maximum": None,
    "zero_point": None,
}

# Kernel, stride, padding (top, bottom, left, right), dilation.
WINDOWS: dict[str, tuple[tuple[int, int], list[int], list[int], list[int]]] = {
    "pointwise": ((1, 1), [1, 1], [0, 0, 0, 0], [1, 1]),
    "padded": ((3, 3), [1, 1], [1, 1, 1, 1], [1, 1]),
    "padded unevenly": ((3, 2), [1, 1], [0, 1, 2, 3], [1, 1]),
    "strided": ((3, 3), [2, 1], [0, 1, 0, 1], [1, 1]),
    "dilated": ((3, 3), [1, 1], [2, 2, 2, 2], [2, 2]),
    "long": ((5, 1), [1, 2], [2, 2, 0, 0], [1, 1]),
}


# The reference.


def integers(low: int, high: int, shape: tuple[int, ...], rng: torch.Generator) -> Integers:
    """Numbers from `low` to `high`, both included."""
    return torch.randint(low, high + 1, shape, generator=rng).numpy()


def bytes_of(dtype: str, shape: tuple[int, ...], rng: torch.Generator) -> Integers:
    """Numbers of `dtype`, its limits more often than the others."""
    low, high = LIMITS[dtype]
    return integers(low - 20, high + 20, shape, rng).clip(low, high)


def tensor(values: NDArray[Any], dtype: str) -> torch.Tensor:
    """`values` as a tensor of `dtype`, which holds them all."""
    assert np.array_equal(values.astype(dtype), values)
    return torch.from_numpy(values.astype(dtype))


def convolved(
    x: Integers, weight: Integers, window: tuple[Any, ...], groups: int, zero_point: int
) -> Integers:
    """The sums of products of (x - zero_point) NHWC, tap by tap."""
    (kh, kw), (sh, sw), (top, bottom, left, right), (dh, dw) = window
    image = np.pad(x - zero_point, ((0, 0), (top, bottom), (left, right), (0, 0)))
    oh = (image.shape[1] - dh * (kh - 1) - 1) // sh + 1
    ow = (image.shape[2] - dw * (kw - 1) - 1) // sw + 1
    outputs, inputs = weight.shape[:2]
    total = np.zeros((len(x), oh, ow, groups, outputs // groups), np.int64)
    for i, j in np.ndindex(kh, kw):
        rows = image[:, i * dh : i * dh + sh * (oh - 1) + 1 : sh]
        pixels = rows[:, :, j * dw : j * dw + sw * (ow - 1) + 1 : sw].reshape(len(x), oh, ow, groups, inputs)
        taps = weight[:, :, i, j].reshape(groups, outputs // groups, inputs)
        total += np.einsum("nhwgi,goi->nhwgo", pixels, taps)
    return total.reshape(len(x), oh, ow, outputs)


def scaled(sums: Integers, multiplier: Reals, addend: Reals | None = None) -> Reals:
    """sums multiplier + addend: the sums in float32, the rest rounded once."""
    value = sums.astype(np.float32).astype(np.float64) * multiplier
    return (value if addend is None else value + addend).astype(np.float32)


def stored(value: Reals, zero_point: int, dtype: str, low: float = -1e9, high: float = 1e9) -> Integers:
    """`value` as a number of `dtype`: between bounds, rounded half to even, moved, saturated."""
    moved = np.rint(np.clip(value.astype(np.float64), low, high)).astype(np.int64) + zero_point
    return moved.clip(*LIMITS[dtype])


def bounds(dtype: str, zero_point: int) -> dict[str, Any]:
    """The operands of a result of `dtype` that only saturates."""
    low, high = LIMITS[dtype]
    return {
        "minimum": float(low - zero_point),
        "maximum": float(high - zero_point),
        "zero_point": zero_point,
    }


def same(got: torch.Tensor, want: NDArray[Any], dtype: str) -> None:
    """Equal to the bit, of `dtype`, contiguous, and no constant."""
    assert got.is_contiguous()
    assert str(got.dtype) == f"torch.{dtype}"
    np.testing.assert_array_equal(got.numpy(), want)


def random_multiplier(columns: int, spread: float, rng: torch.Generator) -> Reals:
    """One for each column, under which sums of deviation `spread` fill most of a byte."""
    factors: Reals = (0.3 + torch.rand(columns, generator=rng)).numpy()
    return (factors * np.float32(60 / spread)).astype(np.float32)


# Convolutions.


@pytest.mark.parametrize(("dtype", "zero_point"), BYTES)
@pytest.mark.parametrize("kind", ["dense", "depthwise"])
@pytest.mark.parametrize("name", WINDOWS)
def test_convolution(name: str, kind: str, dtype: str, zero_point: int, rng: torch.Generator) -> None:
    window = WINDOWS[name]
    (kh, kw), stride, padding, dilation = window
    x = bytes_of(dtype, (2, 7, 8, 6), rng)
    outputs, inputs, groups = (5, 6, 1) if kind == "dense" else (6, 1, 6)
    weight = integers(-128, 127, (outputs, inputs, kh, kw), rng)
    bias = integers(-(10**5), 10**5, (outputs,), rng)
    sums = convolved(x, weight, window, groups, zero_point) + bias
    multiplier = random_multiplier(outputs, float(sums.std()), rng)
    result = int(bytes_of(dtype, (1,), rng)[0])
    operands = (
        *(tensor(x, dtype), tensor(weight, "int8"), tensor(bias, "int32"), torch.from_numpy(multiplier)),
        *(stride, padding, dilation, groups, zero_point),
    )
    want = stored(scaled(sums, multiplier), result, dtype)
    assert want.std() > 0
    same(qconv2d(*operands, **PLAIN | bounds(dtype, result)), want, dtype)
    same(qconv2d(*operands, **PLAIN), scaled(sums, multiplier), "float32")


@pytest.mark.parametrize(("dtype", "zero_point"), BYTES)
def test_the_border_is_the_real_number_zero(dtype: str, zero_point: int) -> None:
    """Of an image that is 0 everywhere, nothing is left but the bias, at the border as inside."""
    x = torch.full((1, 4, 5, 3), zero_point, dtype=getattr(torch, dtype))
    weight = torch.full((2, 3, 3, 3), 127, dtype=torch.int8)
    bias = torch.tensor([-9, 77], dtype=torch.int32)
    geometry = ([1, 1], [1, 2, 3, 1], [1, 1], 1, zero_point)
    y = qconv2d(x, weight, bias, torch.ones(2), *geometry, **PLAIN)
    assert torch.equal(y, bias.float().expand(1, 5, 7, 2))


# Linear layers and the epilogue.


def linear_operands(
    dtype: str, zero_point: int, rng: torch.Generator, shape: tuple[int, ...] = (3, 4, 10)
) -> tuple[tuple[Any, ...], Integers, Reals]:
    """The operands of `qlinear` up to `input_zero_point`, the exact sums, and the multiplier."""
    x = bytes_of(dtype, shape, rng)
    weight, bias = integers(-128, 127, (7, shape[-1]), rng), integers(-(10**4), 10**4, (7,), rng)
    sums = (x - zero_point) @ weight.T + bias
    multiplier = random_multiplier(7, float(sums.std()), rng)
    tensors = (tensor(x, dtype), tensor(weight, "int8"), tensor(bias, "int32"), torch.from_numpy(multiplier))
    return (*tensors, zero_point), sums, multiplier


@pytest.mark.parametrize(("dtype", "zero_point"), BYTES)
@pytest.mark.parametrize("shape", [(9,), (5, 9), (2, 3, 9)])
def test_linear(shape: tuple[int, ...], dtype: str, zero_point: int, rng: torch.Generator) -> None:
    operands, sums, multiplier = linear_operands(dtype, zero_point, rng, shape)
    result = int(bytes_of(dtype, (1,), rng)[0])
    want = stored(scaled(sums, multiplier), result, dtype)
    same(qlinear(*operands, **PLAIN | bounds(dtype, result)), want, dtype)
    same(qlinear(*operands, **PLAIN), scaled(sums, multiplier), "float32")


@pytest.mark.parametrize(("dtype", "zero_point"), BYTES)
def test_a_residual_of_bytes_has_a_zero_point_of_its_own(
    dtype: str, zero_point: int, rng: torch.Generator
) -> None:
    operands, sums, multiplier = linear_operands(dtype, 3, rng)
    residual, factor = bytes_of(dtype, sums.shape, rng), residual_multiplier(0.7316)
    addend = ((residual - zero_point) * factor).astype(np.float32)
    added = {
        "residual": tensor(residual, dtype),
        "residual_multiplier": factor,
        "residual_zero_point": zero_point,
    }
    want = stored(scaled(sums, multiplier, addend), zero_point, dtype)
    same(qlinear(*operands, **PLAIN | added | bounds(dtype, zero_point)), want, dtype)
    same(qlinear(*operands, **PLAIN | added), scaled(sums, multiplier, addend), "float32")


@pytest.mark.parametrize("dtype", LIMITS)
def test_a_residual_in_float32_is_added_as_it_is(dtype: str, rng: torch.Generator) -> None:
    operands, sums, multiplier = linear_operands(dtype, 3, rng)
    residual = torch.randn(sums.shape, generator=rng) * 50
    added = {"residual": residual, "residual_multiplier": 123.0, "residual_zero_point": 45}
    value = scaled(sums, multiplier, residual.numpy())
    same(qlinear(*operands, **PLAIN | added), value, "float32")
    same(qlinear(*operands, **PLAIN | added | bounds(dtype, 17)), stored(value, 17, dtype), dtype)


@pytest.mark.parametrize("dtype", LIMITS)
def test_hardswish_comes_after_the_residual_and_before_the_scale(dtype: str, rng: torch.Generator) -> None:
    operands, sums, multiplier = linear_operands(dtype, 3, rng)
    multiplier = (multiplier / np.float32(25)).astype(np.float32)
    residual, inverse = torch.randn(sums.shape, generator=rng), single(31.7)
    value = scaled(sums, multiplier, residual.numpy())
    # Every step is rounded to float32.
    active = value * np.clip(value + np.float32(3), 0, 6) * np.float32(inverse / 6)
    assert active.dtype == np.float32
    operands = (*operands[:3], torch.from_numpy(multiplier), operands[4])
    options = {"residual": residual, "activation": "hardswish", "inverse_scale": inverse}
    want = stored(active, -5 if dtype == "int8" else 5, dtype)
    same(qlinear(*operands, **PLAIN | options | bounds(dtype, -5 if dtype == "int8" else 5)), want, dtype)
    same(qlinear(*operands, **PLAIN | options), active, "float32")
    real = value * np.clip(value.astype(np.float64) + 3, 0, 6) / 6 * inverse
    np.testing.assert_allclose(active, real, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.0, None), (None, 40.0), (-20.0, 40.0), (7.0, 7.0)])
def test_bounds_are_before_the_zero_point(
    low: float | None, high: float | None, rng: torch.Generator
) -> None:
    operands, sums, multiplier = linear_operands("uint8", 128, rng)
    value = scaled(sums, multiplier)
    floats = qlinear(*operands, **PLAIN | {"minimum": low, "maximum": high})
    same(floats, np.clip(value, low, high), "float32")
    low, high = -100.0 if low is None else low, 155.0 if high is None else high
    got = qlinear(*operands, **PLAIN | {"minimum": low, "maximum": high, "zero_point": 100})
    same(got, stored(value, 100, "uint8", low, high), "uint8")


@pytest.mark.parametrize("scale", [1e-8, 1e-5, 1e-2, 1.0, 100.0, 1e4])
def test_multipliers_of_every_size(scale: float, rng: torch.Generator) -> None:
    operands, sums, _ = linear_operands("int8", -3, rng)
    multiplier = (scale * (0.5 + torch.rand(7, generator=rng))).float()
    operands = (*operands[:3], multiplier, operands[4])
    value = scaled(sums, multiplier.numpy())
    same(qlinear(*operands, **PLAIN), value, "float32")
    same(qlinear(*operands, **PLAIN | bounds("int8", 9)), stored(value, 9, "int8"), "int8")


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_as_large_as_32_bits_allow(sign: int, rng: torch.Generator) -> None:
    """The bias takes the sum to within a few of +-2^31."""
    x, weight = integers(0, 255, (5, 8), rng), integers(-128, 127, (6, 8), rng)
    # Of zeros only, so that the bias is a sum, and has 32 bits itself.
    x[0] = 200
    products = (x - 200) @ weight.T
    bias = sign * (2**31 - 1) - (products.max(0) if sign > 0 else products.min(0))
    sums = products + bias
    assert np.abs(sums).max() == 2**31 - 1
    multiplier = np.full(6, 2.0**-24, np.float32)
    tensors = (
        tensor(x, "uint8"),
        tensor(weight, "int8"),
        tensor(bias, "int32"),
        torch.from_numpy(multiplier),
    )
    value = scaled(sums, multiplier)
    # In float32, a sum of 31 bits is the multiple of 128 nearest to it.
    assert np.array_equal(value, (128 * np.rint(sums / 128) / 2**24).astype(np.float32))
    same(qlinear(*tensors, 200, **PLAIN), value, "float32")
    zero_point = 0 if sign > 0 else 255
    want = stored(value, zero_point, "uint8")
    assert np.abs(want - zero_point).min() >= 127
    same(qlinear(*tensors, 200, **PLAIN | bounds("uint8", zero_point)), want, "uint8")


@pytest.mark.parametrize("zero_point", [-128, 0, 1, 127])
@pytest.mark.parametrize("shift", [1, 2, 5])
def test_half_way_cases_become_even(shift: int, zero_point: int) -> None:
    """As Python rounds fractions; the zero point, even or odd, is added after it."""
    sums = range(-(150 << shift), 150 << shift)
    bias = torch.tensor(sums, dtype=torch.int32)
    x, weight = torch.zeros(1, 1, dtype=torch.int8), torch.zeros(len(bias), 1, dtype=torch.int8)
    multiplier = torch.full((len(bias),), 0.5**shift)
    got = qlinear(x, weight, bias, multiplier, 0, **PLAIN | bounds("int8", zero_point))
    want = [min(127, max(-128, round(Fraction(value, 2**shift)) + zero_point)) for value in sums]
    assert got[0].tolist() == want


# Means.


@pytest.mark.parametrize(("dtype", "zero_point"), BYTES)
@pytest.mark.parametrize("axes", [(1, 2), (1,), (0, 3), (2, 3)])
@pytest.mark.parametrize("keepdim", [True, False])
def test_mean(
    axes: tuple[int, ...], keepdim: bool, dtype: str, zero_point: int, rng: torch.Generator
) -> None:
    x = bytes_of(dtype, (2, 5, 7, 3), rng)
    sums = (x - zero_point).sum(axes, keepdims=keepdim)
    count = x.size // sums.size
    multiplier = np.array([1.7 / count], np.float32)
    operands = (tensor(x, dtype), torch.from_numpy(multiplier), list(axes), keepdim, zero_point)
    value = scaled(sums, multiplier)
    same(qmean(*operands, None, None, None), value, "float32")
    np.testing.assert_allclose(value, 1.7 * (x - zero_point).mean(axes, keepdims=keepdim), rtol=1e-6)
    result = bounds(dtype, 60)
    same(qmean(*operands, *result.values()), stored(value, 60, dtype), dtype)


# Between real numbers and bytes.


@pytest.mark.parametrize(("dtype", "zero_point"), BYTES)
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 37.5, 1e4])
def test_quantize(scale: float, dtype: str, zero_point: int, rng: torch.Generator) -> None:
    inverse = single(1 / single(scale))
    x = torch.randn(4000, generator=rng) * 100 * scale
    value = x.numpy() * np.float32(inverse)
    assert value.dtype == np.float32
    want = stored(value, zero_point, dtype)
    assert len(np.unique(want)) > 100
    same(quantize(x, inverse, zero_point, dtype), want, dtype)


@pytest.mark.parametrize(("dtype", "zero_point"), BYTES)
def test_quantize_rounds_half_to_even_and_saturates(dtype: str, zero_point: int) -> None:
    halves = [number / 2 for number in range(-600, 601)]
    low, high = LIMITS[dtype]
    want = [min(high, max(low, round(Fraction(value)) + zero_point)) for value in halves]
    assert quantize(torch.tensor(halves), 1.0, zero_point, dtype).tolist() == want
    beyond = torch.tensor([-torch.inf, -3e38, -1e10, 1e10, 3e38, torch.inf])
    assert quantize(beyond, 1.0, zero_point, dtype).tolist() == [low] * 3 + [high] * 3


@pytest.mark.parametrize(("dtype", "zero_point"), BYTES)
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 37.5, 1e4])
def test_dequantize_every_byte_and_back(scale: float, dtype: str, zero_point: int) -> None:
    low, high = LIMITS[dtype]
    x = np.arange(low, high + 1)
    given = torch.tensor(scale, dtype=torch.float32)
    real = dequantize(tensor(x, dtype), given, zero_point)
    same(real, (x - zero_point).astype(np.float32) * np.float32(scale), "float32")
    same(quantize(real, single(1 / float(given)), zero_point, dtype), x, dtype)


def test_dequantize_a_weight_by_channels(rng: torch.Generator) -> None:
    weight, scale = integers(-128, 127, (5, 3, 2, 2), rng), torch.rand(5, generator=rng)
    want = weight.astype(np.float32) * scale.numpy()[:, None, None, None]
    same(dequantize_weight(tensor(weight, "int8"), scale), want, "float32")


def test_the_part_of_a_residual_is_exact_in_float32(rng: torch.Generator) -> None:
    exponents = torch.rand(500, generator=rng).double() * 60 - 30
    centred = np.arange(-255, 256)
    for value in (2.0**exponents).tolist():
        factor = residual_multiplier(value)
        assert abs(factor / value - 1) <= 2.0**-RESIDUAL_BITS
        products = centred.astype(np.float32) * np.float32(factor)
        assert products.dtype == np.float32
        assert np.array_equal(products.astype(np.float64), centred * factor)
        # One that is so short stays.
        assert residual_multiplier(factor) == factor


# How they are registered.


@pytest.mark.parametrize("zero_point", [None, 3])
def test_they_are_registered_soundly(zero_point: int | None, rng: torch.Generator) -> None:
    """Among others, that the shape and the type that each claims are what it gives."""

    def check(operator: Any, *operands: Any, **options: Any) -> None:
        torch.library.opcheck(operator, operands, options, test_utils=("test_schema", "test_faketensor"))

    end = PLAIN if zero_point is None else PLAIN | bounds("uint8", zero_point)
    operands, _, multiplier = linear_operands("uint8", 9, rng)
    check(qlinear, *operands, **end)
    x = tensor(bytes_of("uint8", (2, 7, 8, 6), rng), "uint8")
    check(qmean, x, torch.ones(1), [1, 2], False, 9, end["minimum"], end["maximum"], zero_point)
    weight = torch.ones(7, 6, 3, 2, dtype=torch.int8)
    geometry = ([2, 1], [0, 1, 2, 3], [1, 2], 1, 9)
    check(qconv2d, x, weight, operands[2], torch.from_numpy(multiplier), *geometry, **end)
    check(quantize, torch.randn(3, 4, generator=rng), 2.0, 9, "uint8")
    check(dequantize, x, torch.tensor(0.5), 9)
    check(dequantize_weight, weight, torch.ones(7))
