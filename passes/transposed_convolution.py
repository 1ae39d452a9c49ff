"""ATen's transposed convolution as a layer whose output channels are scaled.

    y[:, g O/G + j] = sum over i in group g of x[:, i] * W[i, j]        W: (I, O/G, kh, kw), G groups

Its weights lie by input channel, so that a scale by output channel goes to axis 1, group by group.
"""

import torch
from torch import fx

from lwc.graph import aten, constant, shape_of
from lwc.ops.view import named_arguments


def is_transposed(node: fx.Node) -> bool:
    """Whether `node` is a transposed convolution of an image."""
    if node.target is aten.convolution.default:
        return bool(named_arguments(node)["transposed"])
    return node.target is aten.conv_transpose2d.input


def refuse_transposed(module: fx.GraphModule, node: fx.Node) -> str | None:
    """Why the weights of the transposed convolution `node` cannot be scaled, or None."""
    values = named_arguments(node)
    if node.meta["val"].dtype not in (torch.float32, torch.float64):
        return f"the transposed convolution's dtype is {node.meta['val'].dtype}"
    if any(constant(module, item) is None for item in (values["weight"], values["bias"]) if item is not None):
        return "the transposed convolution's weight or its bias is not a constant"
    if len(shape_of(node)) != len(shape_of(values["weight"])):
        return "the transposed convolution's image has no batch axis"
    return None


def scale_of_transposed(scale: torch.Tensor, weight: torch.Tensor, groups: int) -> torch.Tensor:
    """What to multiply `weight` (I, O/groups, kh, kw) by, so that output channels are multiplied by `scale` (O,)."""
    by_input = scale.reshape(groups, -1).repeat_interleave(len(weight) // groups, 0)
    return by_input.reshape(*weight.shape[:2], *[1] * (weight.dim() - 2))
