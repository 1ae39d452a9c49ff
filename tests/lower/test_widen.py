"""Functions of float16 compute in float32, and no others are changed."""

import pytest

from lwc.lower.widen import computed_in_float32
from lwc.tvm_api import te, topi


def test_a_sum_of_halves_is_rounded_once() -> None:
    x = te.placeholder((4, 100), "float16", name="x")
    text = str(computed_in_float32(te.create_prim_func([x, topi.sum(topi.exp(x), 1)])))
    assert 'Cast("float16"' in text
    assert text.count("float16") == len(['x: "float16"', 'result: "float16"', 'Cast("float16"'])


@pytest.mark.parametrize("reduce", [topi.max, topi.min])
def test_extremes_of_halves_begin_with_those_of_float32(reduce: object) -> None:
    x = te.placeholder((4, 100), "float16", name="x")
    assert callable(reduce)
    text = str(computed_in_float32(te.create_prim_func([x, reduce(x, 1)])))
    assert "65504" not in text
    assert "340282346638528859811704183484516925440.0" in text


def test_a_bound_that_the_model_has_stays() -> None:
    x = te.placeholder((4, 100), "float16", name="x")
    clamped = topi.clip(x, -65504.0, 65504.0)
    assert str(computed_in_float32(te.create_prim_func([x, clamped]))).count("65504") == 2


def test_a_function_without_halves_stays_as_it_is() -> None:
    x = te.placeholder((4, 100), "float32", name="x")
    function = te.create_prim_func([x, topi.cast(x, "int32")])
    assert computed_in_float32(function).same_as(function)
