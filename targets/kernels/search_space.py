"""What a template leaves open, for tuning: free choices, and the kernel that they make.

A choice has a name and is a whole number. A space never gives a kernel that its template cannot schedule; whether it is
fast, and whether it is right, is measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lwc.targets.kernels import (
    conv2d,
    depthwise,
    gemm,
    quantized_conv2d,
    quantized_depthwise,
    quantized_gemm,
    separable,
    space_of_depthwise,
    space_of_products,
    space_of_separable,
    space_of_windows,
    winograd,
)
from lwc.targets.target import Target

# Goes up with what makes measured choices worthless: another meaning of a name, or other code for the same choices.
VERSION = 1

Choice = Mapping[str, int]


@dataclass(frozen=True)
class Space:
    """`values` of each free choice, the kernel's own among them; `read` a kernel's choices, `write` others into it.

    `write` gives None for what the template cannot schedule on the target.
    """

    values: Callable[[Any, Target], dict[str, tuple[int, ...]]]
    read: Callable[[Any], dict[str, int]]
    write: Callable[[Any, Choice, Target], Any | None]


_SPACES: dict[type, Space] = {
    gemm.Gemm: Space(space_of_products.values, space_of_products.read, space_of_products.write),
    quantized_gemm.QuantizedGemm: Space(
        space_of_products.values, space_of_products.read, space_of_products.write
    ),
    conv2d.Conv2d: Space(space_of_windows.values, space_of_windows.read, space_of_windows.write),
    quantized_conv2d.QuantizedConv2d: Space(
        space_of_windows.values, space_of_windows.read, space_of_windows.write
    ),
    winograd.Winograd: Space(
        space_of_windows.winograd_values, space_of_windows.winograd_read, space_of_windows.winograd_write
    ),
    depthwise.Depthwise: Space(space_of_depthwise.values, space_of_depthwise.read, space_of_depthwise.write),
    quantized_depthwise.QuantizedDepthwise: Space(
        space_of_depthwise.quantized_values,
        space_of_depthwise.quantized_read,
        space_of_depthwise.quantized_write,
    ),
    separable.Separable: Space(space_of_separable.values, space_of_separable.read, space_of_separable.write),
}


def space_of(kernel: Any) -> Space | None:
    """What the template of `kernel` leaves open; None where that is nothing."""
    return _SPACES.get(type(kernel))


def with_choice(kernel: Any, choice: Choice, target: Target) -> Any | None:
    """`kernel` with `choice` in place of its own; None where its space has no such kernel."""
    space = space_of(kernel)
    if space is None:
        return None
    values = space.values(kernel, target)
    if choice.keys() != values.keys() or any(choice[name] not in values[name] for name in values):
        return None
    return space.write(kernel, choice, target)
