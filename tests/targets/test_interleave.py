"""The order in which interleaved words lie, and when narrowing them is bound enough."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lwc.targets.kernels.interleave import order
from lwc.targets.kernels.requantize import Requantize

Array = NDArray[np.int64]


def unpacked(a: Array, b: Array, size: int, high: bool) -> Array:
    """As `punpck` does: of each `size` elements the low or the high halves of a and b, in turn one of each."""
    halves = [part.reshape(-1, 2, size // 2)[:, int(high)] for part in (a, b)]
    return np.stack(halves, -1).ravel()


@pytest.mark.parametrize("lanes", [16, 32, 64])
def test_the_order_is_that_of_interleaved_bytes(lanes: int) -> None:
    rows = [1000 * row + np.arange(lanes) for row in range(4)]
    words = []
    for high in (False, True):
        pairs = [unpacked(rows[0], rows[1], 16, high), unpacked(rows[2], rows[3], 16, high)]
        # Halves of 16 bits move as one.
        first, second = (pair.reshape(-1, 2) for pair in pairs)
        for upper in (False, True):
            places = unpacked(np.arange(lanes // 2), lanes + np.arange(lanes // 2), 8, upper)
            halves = [first[place] if place < lanes else second[place - lanes] for place in places]
            words.append(np.array(halves).reshape(-1, 4))
    channels = np.concatenate(words)
    assert (channels == order(lanes)[:, None] + 1000 * np.arange(4)).all()


def test_128_bits_are_in_the_channels_own_order() -> None:
    assert order(16).tolist() == list(range(16))


PLAIN = Requantize("uint8", 3, -3.0, 252.0)


def test_a_result_with_its_types_bounds_saturates() -> None:
    assert PLAIN.saturates(1e6)
    assert Requantize("int8", -5, -123.0, 132.0).saturates(1e6)


@pytest.mark.parametrize(
    "how",
    [
        Requantize("uint8", 3, 0.0, 252.0),
        Requantize("uint8", 3, -3.0, 100.0),
        Requantize("uint8", 3, None, None),
        Requantize("uint8", 3, -3.0, 252.0, "silu"),
        Requantize("uint8", 3, -3.0, 252.0, inverse_scale=2.0),
        Requantize("float32", None, None, None),
    ],
)
def test_other_bounds_are_kept(how: Requantize) -> None:
    assert not how.saturates(1e6)


def test_what_no_32_bits_hold_is_bounded_first() -> None:
    assert not PLAIN.saturates(2.0**31)
