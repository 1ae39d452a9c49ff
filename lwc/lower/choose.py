"""Who decides between the kernels that a template can make: by default, the template's own analytic plan."""

from collections.abc import Callable
from typing import Any

from torch import fx

# Gives the kernel to take for a node of the program that is lowered, where the plan is another one.
Choose = Callable[[fx.Node, Any], Any]


def as_planned(node: fx.Node, kernel: Any) -> Any:
    """The plan."""
    return kernel
