"""Fold an inference batch norm into the linear layer or convolution that alone reads it.

Given:   y = op(bn(x), W, b)          op = linear, or conv2d without padding;  bn(x) = x s + t by input channel
Result:  y = op(x, W s, W t + b)

Zeros that a convolution pads with are added after the batch norm: before it they would have to be -t / s.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, constant, shape_of
from lwc.ops import ConvView, LinearView
from lwc.passes.fold_batch_norm import BATCH_NORM, reads_statistics, scale_and_shift
from lwc.pipeline import Pass
from lwc.trace import Program

_CONV2D, _LINEAR = torch.ops.lwc.conv2d.default, torch.ops.lwc.linear.default


@dataclass(frozen=True)
class ForwardFolding:
    """A batch norm, and a layer that reads its first result."""

    norm: fx.Node
    consumer: fx.Node

    @property
    def view(self) -> ConvView | LinearView:
        """The layer's arguments."""
        return ConvView.of(self.consumer) if self.consumer.target is _CONV2D else LinearView.of(self.consumer)


@dataclass(frozen=True)
class FoldBatchNormForward(Pass[ForwardFolding]):
    """Batch norm that no layer before it took joins the layer after it."""

    name: ClassVar[str] = "fold-batch-norm-forward"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)
    # One batch norm may read another.
    repeat: ClassVar[bool] = True

    def match(self, program: Program, node: fx.Node) -> ForwardFolding | None:
        """A batch norm that a linear layer or a convolution reads as its image or tokens."""
        readers = _readers(node) if node.target is BATCH_NORM else []
        matches = (ForwardFolding(node, reader) for reader in readers if reader.target in (_CONV2D, _LINEAR))
        return next((match for match in matches if match.view.x in node.users), None)

    def refuse(self, program: Program, match: ForwardFolding) -> str | None:
        """Nothing else may read the batch norm, and the layer must see each channel's s x + t everywhere."""
        return _refuse(program.module, match.norm, match.view)

    def rewrite(self, program: Program, match: ForwardFolding) -> None:
        """See the module's docstring."""
        _fold(program.module, match)


def _readers(norm: fx.Node) -> list[fx.Node]:
    return [reader for result in norm.users for reader in result.users]


def _refuse(module: fx.GraphModule, norm: fx.Node, view: ConvView | LinearView) -> str | None:
    if reads_statistics(norm):
        return "its statistics are read"
    if len(_readers(norm)) != 1:
        return "it has another user than the layer after it"
    if isinstance(view, ConvView) and view.input_layout != "NCHW":
        return "the convolution reads NHWC"
    if isinstance(view, ConvView) and any(view.padding):
        return "the convolution pads with zeros, which the batch norm does not reach"
    if isinstance(view, LinearView) and len(shape_of(view.x)) != 2:
        return "it does not normalise the last axis, which the linear layer reads"
    if view.x.meta["val"].dtype not in (torch.float32, torch.float64):
        return f"its dtype is {view.x.meta['val'].dtype}"
    if scale_and_shift(module, norm) is None:
        return "its statistics or its affine parameters are not constants"
    parameters = [item for item in (view.weight, view.bias) if item is not None]
    if any(constant(module, item) is None for item in parameters):
        return "the layer's weight or its bias is not a constant"
    return None


def _fold(module: fx.GraphModule, match: ForwardFolding) -> None:
    view: Any = match.view
    parameters, weight = scale_and_shift(module, match.norm), constant(module, view.weight)
    assert parameters is not None
    assert weight is not None
    # By group, output channel of the group, input channel of the group, and pixel of the kernel.
    groups = view.groups if isinstance(view, ConvView) else 1
    blocks = weight.double().reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    scale, shift = (value.reshape(groups, 1, -1, 1) for value in parameters)
    bias = (blocks * shift).sum((2, 3)).flatten()
    old = constant(module, view.bias)
    bias = bias if old is None else bias + old.double()
    with module.graph.inserting_before(match.consumer):
        # New tensors: the old ones may belong to other layers too.
        folded = (blocks * scale).reshape(weight.shape).to(weight.dtype)
        new_weight = add_constant(module, f"{view.weight.target}_folded", folded)
        new_bias = add_constant(module, f"{view.weight.target}_bias_folded", bias.to(weight.dtype))
    source: Any = match.norm.args[0]
    match.consumer.args = replace(view, x=source, weight=new_weight, bias=new_bias).arguments
