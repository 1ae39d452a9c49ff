"""`lwc::linear`: a linear layer with its residual and its activation."""

from dataclasses import dataclass

import torch
from torch import fx
from torch.nn import functional

from lwc.ops.activation import apply_epilogue
from lwc.ops.view import OperatorView


@torch.library.custom_op("lwc::linear", mutates_args=())
def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    activation: str,
    minimum: float | None,
    maximum: float | None,
) -> torch.Tensor:
    """clamp(activation(x weight^T + bias + residual), minimum, maximum).

    x: (..., K); weight: (N, K); bias: (N,); residual and result: (..., N).
    """
    y = functional.linear(x, weight, bias)
    return apply_epilogue(y, residual, activation, minimum, maximum).clone(
        memory_format=torch.contiguous_format
    )


@linear.register_fake
def _linear_shape(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    residual: torch.Tensor | None,
    activation: str,
    minimum: float | None,
    maximum: float | None,
) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


@dataclass(frozen=True)
class LinearView(OperatorView):
    """The operands of a node that calls `lwc::linear`, by name."""

    x: fx.Node
    weight: fx.Node
    bias: fx.Node | None
    residual: fx.Node | None
    activation: str
    minimum: float | None
    maximum: float | None

    @property
    def is_plain(self) -> bool:
        """Whether nothing follows the product and the bias."""
        return (self.residual, self.activation, self.minimum, self.maximum) == (None, "identity", None, None)
