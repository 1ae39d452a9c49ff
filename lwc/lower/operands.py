"""What the converters of our templates ask of operands, and do to them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.conv2d import Window
from lwc.tvm_api import relax


def shape(value: Any) -> tuple[int, ...]:
    """The shape of a Relax expression."""
    return tuple(int(extent) for extent in value.ty.shape)


def window(weight: NDArray[np.float32], arguments: dict[str, Any]) -> Window:
    """The geometry of a convolution with `weight` (O, C / groups, kh, kw) and an operator's named arguments."""
    stride, dilation = _pair(arguments["stride"]), _pair(arguments["dilation"])
    return Window(_pair(weight.shape[2:]), stride, tuple(arguments["padding"]), dilation)


def padded(bias: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """`bias` with zeros up to `size`."""
    return np.pad(bias, (0, size - len(bias)))


def first_columns(builder: Any, value: Any, columns: int) -> Any:
    """`value` without the columns that were added to fill the last vector."""
    extents = shape(value)
    if extents[-1] == columns:
        return value
    return builder.emit(relax.op.strided_slice(value, [len(extents) - 1], [0], [columns]))


def _pair(values: Any) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)
