"""The addition after a convolution or a linear layer joins its epilogue.

Given:   y = op(x, W, b);  z = y + r        op = conv2d or linear, reshapes in between allowed
Result:  z = op(x, W, b, residual=r)

The layer moves down to the addition, so that r is there whichever came first. Of two layers that are added, the later
one takes the sum where it can.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import aten, shape_of, through_reshapes
from lwc.ops import ConvView, LinearView
from lwc.ops.view import named_arguments
from lwc.passes.epilogue import what_stands_between
from lwc.passes.layout import reshape
from lwc.pipeline import Pass
from lwc.trace import Program

_CONV2D, _LINEAR = torch.ops.lwc.conv2d.default, torch.ops.lwc.linear.default


@dataclass(frozen=True)
class ResidualAdd:
    """An addition of `result`, which is `layer`'s result or a reshape of it, and `residual`."""

    node: fx.Node
    layer: fx.Node
    result: fx.Node
    residual: fx.Node

    @property
    def view(self) -> Any:
        """The layer's arguments."""
        return ConvView.of(self.layer) if self.layer.target is _CONV2D else LinearView.of(self.layer)


@dataclass(frozen=True)
class FuseResidualAdd(Pass[ResidualAdd]):
    """An addition joins the convolution or linear layer before it."""

    name: ClassVar[str] = "fuse-residual-add"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)

    def match(self, program: Program, node: fx.Node) -> ResidualAdd | None:
        """An addition of two tensors of which one at least is a layer's."""
        operands: Any = node.args[:2] if node.target is aten.add.Tensor else ()
        if len(operands) < 2 or not all(isinstance(operand, fx.Node) for operand in operands):
            return None
        pairs = (operands, operands[::-1])
        sums = [ResidualAdd(node, through_reshapes(result), result, other) for result, other in pairs]
        sums = [match for match in sums if match.layer.target in (_CONV2D, _LINEAR)]
        return max(sums, key=lambda match: (_refuse(match) is None, match.layer), default=None)

    def refuse(self, program: Program, match: ResidualAdd) -> str | None:
        """The layer adds one tensor like its result, for this reader alone."""
        return _refuse(match)

    def rewrite(self, program: Program, match: ResidualAdd) -> None:
        """See the module's docstring."""
        graph, layer, residual = program.module.graph, match.layer, match.residual
        for moved in _chain(match):
            match.node.prepend(moved)
        with graph.inserting_before(layer):
            residual = reshape(graph, residual, shape_of(layer))
        layer.args = replace(match.view, residual=residual).arguments
        match.node.replace_all_uses_with(match.result)
        graph.erase_node(match.node)


def _chain(match: ResidualAdd) -> list[fx.Node]:
    """The layer and the reshapes after it, in order."""
    chain = [match.result]
    while chain[-1] is not match.layer:
        chain.append(chain[-1].args[0])  # type: ignore[arg-type]
    return chain[::-1]


def _refuse(match: ResidualAdd) -> str | None:
    result, residual = match.result.meta["val"], match.residual.meta["val"]
    if match.result is match.residual:
        return "the layer's result is added to itself"
    if any(len(item.users) > 1 for item in _chain(match)):
        return "the layer before it has another user"
    if named_arguments(match.node)["alpha"] != 1:
        return "it adds a multiple"
    if result.shape != residual.shape:
        return "its operands broadcast"
    if result.dtype != residual.dtype:
        return f"it adds {residual.dtype} to {result.dtype}"
    return what_stands_between(match.layer)
