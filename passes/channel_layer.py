"""A layer as passes on channels see it: its weights by output channel and by input channel."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from lwc.graph import constant, shape_of
from lwc.ops import ConvView, LinearView

_CONV2D, _LINEAR = torch.ops.lwc.conv2d.default, torch.ops.lwc.linear.default


@dataclass(frozen=True)
class Layer:
    """A linear layer or a convolution, ordinary or depthwise, with constant parameters."""

    node: fx.Node
    view: Any
    weight: torch.Tensor
    bias: torch.Tensor | None

    @property
    def axis(self) -> int:
        """The channel axis of what it reads and writes."""
        return 1 if isinstance(self.view, ConvView) else len(shape_of(self.node)) - 1

    @property
    def depthwise(self) -> bool:
        """Whether it makes each channel from the channel with the same number."""
        return isinstance(self.view, ConvView) and self.view.groups > 1

    @property
    def padded(self) -> bool:
        """Whether it reads zeros around the image."""
        return isinstance(self.view, ConvView) and any(self.view.padding)

    @property
    def zero_rows(self) -> torch.Tensor:
        """Whether all weights of an output channel are zero, by channel."""
        return (self.weight.flatten(1) == 0).all(1)

    @property
    def zero_columns(self) -> torch.Tensor:
        """Whether all weights of an input channel are zero, by channel; not for a depthwise convolution."""
        return (self.weight.transpose(0, 1).flatten(1) == 0).all(1)


def layer_of(module: fx.GraphModule, node: fx.Node) -> Layer | None:
    """The layer at `node`, None where there is none or it does not say what each channel depends on."""
    if node.target not in (_CONV2D, _LINEAR):
        return None
    view: Any = ConvView.of(node) if node.target is _CONV2D else LinearView.of(node)
    weight, bias = constant(module, view.weight), constant(module, view.bias)
    if view.residual is not None:
        return None
    if weight is None or (bias is None and view.bias is not None):
        return None
    if isinstance(view, ConvView):
        if (view.input_layout, view.output_layout) != ("NCHW", "NCHW"):
            return None
        if view.groups not in (1, weight.shape[0]) or (view.groups > 1 and weight.shape[1] != 1):
            return None
    return Layer(node, view, weight, bias)
