"""What the elements of a tensor at a package's border mean: float32 themselves, or 8-bit integers as steps.

    real number = scale (integer - zero_point)

Of float32 the scale is 1 and the zero point 0. Needs numpy alone, as `lwc.load` does.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# float32 or uint8.
Elements = NDArray[Any]


class Stepped(Protocol):
    """A tensor that says what its elements mean."""

    @property
    def dtype(self) -> str: ...

    @property
    def scale(self) -> float: ...

    @property
    def zero_point(self) -> int: ...


@dataclass(frozen=True)
class Steps:
    """The type of a tensor's elements, "float32" or "uint8", and what they mean."""

    dtype: str = "float32"
    scale: float = 1.0
    zero_point: int = 0


def quantize(real: NDArray[np.float32], tensor: Stepped) -> Elements:
    """Finite numbers as elements of `tensor`: to the nearest step, half to even, within the type.

    The bits are those of `lwc::quantize`.
    """
    if tensor.dtype == "float32":
        return real
    limits = np.iinfo(tensor.dtype)
    with np.errstate(over="ignore"):
        scaled = real * np.float32(1 / np.float64(np.float32(tensor.scale)))
    rounded = np.rint(np.clip(scaled, limits.min - tensor.zero_point, limits.max - tensor.zero_point))
    elements: Elements = (rounded + tensor.zero_point).astype(tensor.dtype)
    return elements


def dequantize(elements: Elements, tensor: Stepped) -> NDArray[np.float32]:
    """The real numbers that elements of `tensor` stand for."""
    if tensor.dtype == "float32":
        return elements
    return (elements.astype(np.int32) - tensor.zero_point).astype(np.float32) * np.float32(tensor.scale)
