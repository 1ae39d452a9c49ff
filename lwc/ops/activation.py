"""The epilogue that lwc's operators share: a residual, an activation, then a clamp."""

from collections.abc import Callable

import torch
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda x: x,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
}


def apply_epilogue(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    activation: str,
    minimum: float | None,
    maximum: float | None,
) -> torch.Tensor:
    """clamp(activation(x + residual), minimum, maximum), element by element; a bound of None does not clamp."""
    y = ACTIVATIONS[activation](x if residual is None else x + residual)
    if minimum is None and maximum is None:
        return y
    return torch.clamp(y, minimum, maximum)
