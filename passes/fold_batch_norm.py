"""Fold an inference batch norm into the convolution or linear layer before it.

Given:   y = bn(op(x, W, b))          op = conv2d or linear, reshapes in between allowed
Result:  y = op(x, W s, (b - mean) s + beta),    s = gamma / sqrt(var + eps), by output channel
"""

import operator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, aten, constant, has_other_users, shape_of, through_reshapes
from lwc.ops import ConvView, LinearView
from lwc.ops.view import named_arguments
from lwc.passes.epilogue import what_stands_between
from lwc.pipeline import Pass
from lwc.trace import Program

BATCH_NORM = aten._native_batch_norm_legit_no_training.default
_CONV2D, _LINEAR = torch.ops.lwc.conv2d.default, torch.ops.lwc.linear.default


@dataclass(frozen=True)
class Folding:
    """A batch norm, and the layer whose output it normalises."""

    producer: fx.Node
    norm: fx.Node


@dataclass(frozen=True)
class FoldBatchNorm(Pass[Folding]):
    """Batch norm joins the convolution or linear layer before it."""

    name: ClassVar[str] = "fold-batch-norm"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)

    def match(self, program: Program, node: fx.Node) -> Folding | None:
        """A batch norm that reads a convolution or a linear layer."""
        producer = through_reshapes(node.args[0]) if node.target is BATCH_NORM else None
        if not isinstance(producer, fx.Node) or producer.target not in (_CONV2D, _LINEAR):
            return None
        return Folding(producer, node)

    def refuse(self, program: Program, match: Folding) -> str | None:
        """Nothing else may read what changes, and each channel must be the layer's."""
        return _refuse(program.module, match.producer, match.norm)

    def rewrite(self, program: Program, match: Folding) -> None:
        """See the module's docstring."""
        _fold(program.module, match.producer, match.norm)


def scale_and_shift(module: fx.GraphModule, norm: fx.Node) -> tuple[torch.Tensor, torch.Tensor] | None:
    """s and t of bn(x) = x s + t by channel, in float64; None where a statistic is no constant."""
    values = named_arguments(norm)
    mean, variance = (constant(module, values[name]) for name in ("running_mean", "running_var"))
    if mean is None or variance is None:
        return None
    gamma, beta = torch.ones_like(mean).double(), torch.zeros_like(mean).double()
    for name, default in (("weight", gamma), ("bias", beta)):
        if values[name] is None:
            continue
        given = constant(module, values[name])
        if given is None:
            return None
        default.copy_(given)
    scale = gamma / torch.sqrt(variance.double() + values["eps"])
    return scale, beta - mean.double() * scale


def reads_statistics(norm: fx.Node) -> bool:
    """Whether anything reads more of a batch norm than its first result."""
    return any(user.target is not operator.getitem or user.args[1] != 0 for user in norm.users)


def _refuse(module: fx.GraphModule, producer: fx.Node, norm: fx.Node) -> str | None:
    view: ConvView | LinearView = (
        ConvView.of(producer) if producer.target is _CONV2D else LinearView.of(producer)
    )
    first: Any = norm.args[0]
    if has_other_users(producer, norm):
        return "the layer before it has another user"
    if (obstacle := what_stands_between(view)) is not None:
        return obstacle
    if reads_statistics(norm):
        return "its statistics are read"
    if isinstance(view, ConvView) and view.output_layout != "NCHW":
        return "the convolution writes NHWC"
    if first is not producer and not _same_channel_axis(producer, first):
        return "a reshape between them moves the channel axis"
    if producer.target is _LINEAR and len(shape_of(first)) != 2:
        return "it does not normalise the last axis, which the linear layer writes"
    if scale_and_shift(module, norm) is None:
        return "its statistics or its affine parameters are not constants"
    return None


def _same_channel_axis(producer: fx.Node, first: fx.Node) -> bool:
    """Whether the reshapes keep axis -1 (linear) as the batch norm's axis 1."""
    return producer.target is _LINEAR and shape_of(producer)[-1] == shape_of(first)[-1]


def _fold(module: fx.GraphModule, producer: fx.Node, norm: fx.Node) -> None:
    convolution = producer.target is _CONV2D
    view: Any = ConvView.of(producer) if convolution else LinearView.of(producer)
    parameters = scale_and_shift(module, norm)
    weight = constant(module, view.weight)
    assert parameters is not None
    assert weight is not None
    scale, shift = parameters
    folded = weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))
    old = constant(module, view.bias)
    bias = shift if old is None else old.double() * scale + shift
    with module.graph.inserting_before(producer):
        # New tensors: the old ones may belong to other layers too.
        new_weight = add_constant(module, f"{view.weight.target}_folded", folded.to(weight.dtype))
        new_bias = add_constant(module, f"{view.weight.target}_bias_folded", bias.to(weight.dtype))
    producer.args = replace(view, weight=new_weight, bias=new_bias).arguments
    for user in list(norm.users):
        user.replace_all_uses_with(norm.args[0])  # type: ignore[arg-type]
        module.graph.erase_node(user)
    module.graph.erase_node(norm)
