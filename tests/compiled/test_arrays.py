"""What arrays a loaded package takes, and how it refuses others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lwc
from lwc.errors import BadInputError
from tests.compiled.support import Array, random_image

pytestmark = pytest.mark.slow


def test_arrays_of_any_memory_order(native: Path, rng: torch.Generator) -> None:
    model, image = lwc.load(native), random_image(rng)
    expected = model(image)
    wide = np.repeat(image, 2, axis=3)
    shifted = np.empty(image.size + 1, np.float32)[1:].reshape(image.shape)
    shifted[:] = image
    read_only = image.copy()
    read_only.flags.writeable = False
    for same in (np.asfortranarray(image), wide[..., ::2], image[:, ::-1][:, ::-1], shifted, read_only):
        assert np.array_equal(same, image)
        assert np.array_equal(model(same), expected)


def test_inputs_are_never_written(native: Path, image: Array) -> None:
    before = image.copy()
    lwc.load(native)(image)
    assert np.array_equal(image, before)


def test_an_output_stays_as_it_is_in_the_next_run(native: Path, rng: torch.Generator) -> None:
    model = lwc.load(native)
    first = model(random_image(rng))
    kept = first.copy()
    second = model(random_image(rng))
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)


WRONG: dict[str, Callable[[Array], Any]] = {
    "float64": lambda x: x.astype(np.float64),
    "int8": lambda x: x.astype(np.int8),
    "big endian": lambda x: x.astype(">f4"),
    "NHWC": lambda x: x.transpose(0, 2, 3, 1),
    "no batch": lambda x: x[0],
    "batch of two": lambda x: np.concatenate([x, x]),
    "empty": lambda x: x[:0],
    "list": lambda x: x.tolist(),
    "tensor": torch.from_numpy,
    "nothing": lambda x: None,
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_arrays_are_named(native: Path, image: Array, kind: str) -> None:
    with pytest.raises(
        BadInputError, match=r"input 'image': is .*; give a float32 array of \(1, 3, 128, 128\)"
    ):
        lwc.load(native)(WRONG[kind](image))


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(native: Path, image: Array, rng: torch.Generator, bad: float) -> None:
    model = lwc.load(native)
    expected = model(image)
    for _ in range(10):
        spoilt = image.copy()
        spoilt.flat[int(torch.randint(image.size, (), generator=rng))] = bad
        with pytest.raises(BadInputError, match="input 'image' holds NaN or infinity"):
            model(spoilt)
    assert np.array_equal(model(image), expected)


def test_a_wrong_number_of_arrays(native: Path, image: Array) -> None:
    model = lwc.load(native)
    for arrays in ((), (image, image)):
        with pytest.raises(BadInputError, match=f"takes 1 inputs, {len(arrays)} were given"):
            model(*arrays)
