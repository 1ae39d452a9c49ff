"""Fold an inference batch norm into the convolution or linear layer before it.

Given:   y = bn(op(x, W, b))          op = conv2d, its transpose or linear, reshapes in between allowed
Result:  y = op(x, W s, (b - mean) s + beta),    s = gamma / sqrt(var + eps), by output channel
"""

import operator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, aten, constant, has_other_users, shape_of, through_reshapes
from lwc.ops.view import named_arguments
from lwc.passes.epilogue import what_stands_between
from lwc.passes.transposed_convolution import is_transposed, refuse_transposed, scale_of_transposed
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
        if not isinstance(producer, fx.Node):
            return None
        is_layer = producer.target in (_CONV2D, _LINEAR) or is_transposed(producer)
        return Folding(producer, node) if is_layer else None

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
    values = named_arguments(producer)
    first: Any = norm.args[0]
    if has_other_users(producer, norm):
        return "the layer before it has another user"
    if (obstacle := what_stands_between(producer)) is not None:
        return obstacle
    if reads_statistics(norm):
        return "its statistics are read"
    if values.get("output_layout", "NCHW") != "NCHW":
        return "the convolution writes NHWC"
    if first is not producer and not _same_channel_axis(producer, first):
        return "a reshape between them moves the channel axis"
    if producer.target is _LINEAR and len(shape_of(first)) != 2:
        return "it does not normalise the last axis, which the linear layer writes"
    if is_transposed(producer) and (refusal := refuse_transposed(module, producer)):
        return refusal
    if scale_and_shift(module, norm) is None:
        return "its statistics or its affine parameters are not constants"
    return None


def _same_channel_axis(producer: fx.Node, first: fx.Node) -> bool:
    """Whether the reshapes keep axis -1 (linear) as the batch norm's axis 1."""
    return producer.target is _LINEAR and shape_of(producer)[-1] == shape_of(first)[-1]


def _fold(module: fx.GraphModule, producer: fx.Node, norm: fx.Node) -> None:
    values = named_arguments(producer)
    parameters = scale_and_shift(module, norm)
    weight, old = constant(module, values["weight"]), constant(module, values["bias"])
    assert parameters is not None
    assert weight is not None
    scale, shift = parameters
    if is_transposed(producer):
        factors = scale_of_transposed(scale, weight, values["groups"])
    else:
        factors = scale.reshape(-1, *[1] * (weight.dim() - 1))
    folded = weight.double() * factors
    bias = shift if old is None else old.double() * scale + shift
    name = values["weight"].target
    with module.graph.inserting_before(producer):
        # New tensors: the old ones may belong to other layers too.
        values["weight"] = add_constant(module, f"{name}_folded", folded.to(weight.dtype))
        values["bias"] = add_constant(module, f"{name}_bias_folded", bias.to(weight.dtype))
    producer.args, producer.kwargs = tuple(values.values()), {}
    for user in list(norm.users):
        user.replace_all_uses_with(norm.args[0])  # type: ignore[arg-type]
        module.graph.erase_node(user)
    module.graph.erase_node(norm)
