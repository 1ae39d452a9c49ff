"""The scale of an attention joins the linear layer that gives its queries.

Given:   q = x W^T + b              other rows of W may give keys and values
         o = attention(q, k, v, scale=s)
Result:  q = x (s W)^T + s b        only the rows that give queries
         o = attention(q, k, v, scale=1)
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, constant, has_other_users, through_reshapes
from lwc.ops import AttentionView, Heads, LinearView
from lwc.passes.epilogue import what_stands_between
from lwc.pipeline import Pass
from lwc.trace import Program

_ATTENTION, _LINEAR = torch.ops.lwc.attention.default, torch.ops.lwc.linear.default


@dataclass(frozen=True)
class FoldAttentionScale(Pass[fx.Node]):
    """The scale of an attention's scores joins the weights of its queries."""

    name: ClassVar[str] = "fold-attention-scale"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """An attention that scales."""
        return node if node.target is _ATTENTION and AttentionView.of(node).scale != 1 else None

    def refuse(self, program: Program, match: fx.Node) -> str | None:
        """The rows must give these queries, as they are, and nothing else."""
        view = AttentionView.of(match)
        layer = through_reshapes(view.query)
        if not isinstance(layer, fx.Node) or layer.target is not _LINEAR:
            return "its queries are not the result of a linear layer"
        return _refuse_layer(program.module, layer, match) or _refuse_rows(view, layer)

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the module's docstring."""
        module, view = program.module, AttentionView.of(match)
        layer = through_reshapes(view.query)
        linear = LinearView.of(layer)
        rows = list(_channels(view.query_heads, view.heads))
        with module.graph.inserting_before(layer):
            weight = _scaled(module, linear.weight, rows, view.scale)
            bias = None if linear.bias is None else _scaled(module, linear.bias, rows, view.scale)
        layer.args = replace(linear, weight=weight, bias=bias).arguments
        match.args = replace(view, scale=1.0).arguments


def _channels(where: Heads, heads: int) -> set[int]:
    """The channels of a token in which these heads lie."""
    return {where.offset + head * where.stride + i for head in range(heads) for i in range(where.size)}


def _scaled(module: fx.GraphModule, parameter: fx.Node, rows: list[int], scale: float) -> fx.Node:
    """The parameter with `rows` times `scale`: a new one, as the old one may belong to other layers too."""
    value = constant(module, parameter)
    assert value is not None
    scaled = value.clone()
    scaled[rows] = (scaled[rows].double() * scale).to(value.dtype)
    return add_constant(module, f"{parameter.target}_scaled", scaled)


def _refuse_layer(module: fx.GraphModule, layer: fx.Node, node: fx.Node) -> str | None:
    linear = LinearView.of(layer)
    if has_other_users(layer, node):
        return "another operator reads the linear layer before it"
    if (obstacle := what_stands_between(layer)) is not None:
        return obstacle
    parameters = (linear.weight, linear.bias)
    if any(item is not None and constant(module, item) is None for item in parameters):
        return "the weight or the bias before it is not a constant"
    return None


def _refuse_rows(view: AttentionView, layer: fx.Node) -> str | None:
    if view.query.meta["val"].shape[-1] != layer.meta["val"].shape[-1]:
        return "its queries mix tokens of the linear layer before it"
    rows = _channels(view.query_heads, view.heads)
    others = ((view.key, view.key_heads), (view.value, view.value_heads))
    shared = any(x is view.query and rows & _channels(where, view.heads) for x, where in others)
    if shared or view.bias is view.query:
        return "its keys, values or bias are its queries"
    return None
