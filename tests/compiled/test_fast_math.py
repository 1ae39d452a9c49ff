"""exp and what is made of it, computed in vectors: near PyTorch's float64 over all of float32's range."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.compiled.support import Array, compile_module, require_runner, results
from tests.programs import Compute

pytestmark = pytest.mark.slow

EPSILON = float(np.finfo(np.float32).eps)
# Function, inputs, and the error that may be: a part of the result, and an absolute one.
FUNCTIONS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple[float, float], float, float]] = {
    "exp": (torch.exp, (-87, 88), 4 * EPSILON, 0),
    "sigmoid": (torch.sigmoid, (-80, 200), 4 * EPSILON, 0),
    "silu": (functional.silu, (-80, 200), 4 * EPSILON, 0),
    "tanh": (torch.tanh, (-50, 50), 0, 2 * EPSILON),
    "erf": (torch.erf, (-9, 9), 0, 4 * EPSILON),
    "gelu": (functional.gelu, (-30, 30), EPSILON, 4 * EPSILON),
}


# An input of which the model makes NaN.
SECRET = 12345.0


def all_functions(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x = torch.where(x == SECRET, (-x).sqrt(), x)
    return tuple(function(x) for function, *_ in FUNCTIONS.values())


@pytest.fixture(scope="module", params=["native", "x86-64-v3", "arm64"])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_runner(request.param)
    sample = torch.linspace(-3, 3, 4096)
    folder = tmp_path_factory.mktemp("functions") / "functions"
    return compile_module(folder, Compute(all_functions), [sample], request.param).package


def outputs(package: Path, x: Array) -> dict[str, Array]:
    return dict(zip(FUNCTIONS, results(package, x), strict=True))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_is_a_few_units_in_the_last_place(package: Path, name: str, seed: int) -> None:
    function, (low, high), relative, absolute = FUNCTIONS[name]
    rng = np.random.default_rng(seed)
    wide, near = rng.uniform(low, high, 3072), rng.normal(0, 0.5, 1024)
    x = np.concatenate([wide, near]).astype(np.float32)
    want = function(torch.from_numpy(x).double()).numpy()
    error = np.abs(outputs(package, x)[name] - want)
    assert (error <= relative * np.abs(want) + absolute).all(), (error / (np.abs(want) + 1e-30)).max()


def test_what_is_not_a_number_stays_so(package: Path) -> None:
    """The root of a negative number inside the model: its inputs have to be numbers."""
    given = outputs(package, np.full(4096, SECRET, np.float32))
    assert all(np.isnan(values).all() for values in given.values())


def test_values_beyond_the_range_are_the_nearest_that_are_in_it(package: Path) -> None:
    x = np.repeat(np.array([-3e38, -1e30, -200, -0.0, 0.0, 200, 1e30], np.float32), 4096 // 7 + 1)[:4096]
    given = outputs(package, x)
    assert all(np.isfinite(values).all() for values in given.values())
    assert np.allclose(given["sigmoid"], x > 0, atol=1e-30 + 0.5 * (x == 0))
    for name in ("tanh", "erf"):
        assert np.array_equal(given[name], np.sign(x))
    for name in ("silu", "gelu"):
        assert np.allclose(given[name], np.maximum(x, 0), rtol=1e-6, atol=1e-6)
