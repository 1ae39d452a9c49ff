"""Linear layers with only sums, scales and shifts between and after them become one layer.

Given:   y = (linear(x, W1, b1) + linear(x, W2, b2)) / 2        two heads and their average
Result:  y = linear(x, (W1 + W2) / 2, (b1 + b2) / 2)

Given:   y = linear(x, W, b) * s + t        s, t: a number, or a constant by output channel
Result:  y = linear(x, W s, b s + t)

Given:   y = linear(linear(x, W1, b1), W2, b2)
Result:  y = linear(x, W2 W1, W2 b1 + b2)
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, constant, shape_of
from lwc.ops import LinearView
from lwc.passes.affine_operators import LINEAR, apply_to_parameters, is_affine, is_layer, operands_of
from lwc.passes.epilogue import what_stands_between
from lwc.pipeline import Pass
from lwc.trace import Program


@dataclass(frozen=True)
class Merge:
    """A sum, scale, shift or linear layer, and the linear layers whose results it reads: one or two."""

    layers: tuple[fx.Node, ...]
    node: fx.Node


@dataclass(frozen=True)
class MergeHeads(Pass[Merge]):
    """Sums and constant multiples of linear layers become one linear layer, and so does one after another."""

    name: ClassVar[str] = "merge-heads"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)
    # One merged layer may read another.
    repeat: ClassVar[bool] = True

    def match(self, program: Program, node: fx.Node) -> Merge | None:
        """An operator that reads linear layers, at most two, and otherwise numbers and constants."""
        layers = tuple(dict.fromkeys(operand for operand in operands_of(node) if is_layer(operand)))
        return Merge(layers, node) if layers and is_affine(program.module, node) else None

    def refuse(self, program: Program, match: Merge) -> str | None:
        """Nothing else may read the layers, and one layer must be able to give the result, at no higher cost."""
        module, layers, node = program.module, match.layers, match.node
        refusal = _refuse_layers(module, layers) or _refuse_result(module, layers, node)
        if refusal is None and node.target is LINEAR:
            refusal = _refuse_cost(LinearView.of(layers[0]), LinearView.of(node))
        if refusal is None and not all(bool(part.isfinite().all()) for part in _merged(module, layers, node)):
            refusal = "the merged weight or bias is not finite"
        return refusal

    def rewrite(self, program: Program, match: Merge) -> None:
        """See the module's docstring."""
        module, node, kept = program.module, match.node, match.layers[0]
        view = LinearView.of(kept)
        weight, bias = _merged(module, match.layers, node)
        with module.graph.inserting_before(kept):
            # New tensors: the old ones may belong to other layers too.
            new_weight = add_constant(module, f"{kept.name}_weight", weight)
            new_bias = add_constant(module, f"{kept.name}_bias", bias) if bias.any() else None
        # Of two layers in a row the second one's activation stays.
        last: Any = LinearView.of(node) if node.target is LINEAR else view
        kept.args = replace(last, x=view.x, weight=new_weight, bias=new_bias).arguments
        kept.meta = dict(node.meta)
        node.replace_all_uses_with(kept)
        module.graph.erase_node(node)


def _merged(
    module: fx.GraphModule, layers: tuple[fx.Node, ...], node: fx.Node
) -> tuple[torch.Tensor, torch.Tensor]:
    """The one layer's weight and bias, rounded to its dtype."""
    dtype = layers[0].meta["val"].dtype
    weight, bias = apply_to_parameters(module, node)
    return weight.to(dtype), bias.to(dtype)


def _refuse_layers(module: fx.GraphModule, layers: tuple[fx.Node, ...]) -> str | None:
    views = [LinearView.of(layer) for layer in layers]
    if any(len(layer.users) > 1 for layer in layers):
        return "a layer before it has another user"
    obstacles = filter(None, map(what_stands_between, layers))
    if (obstacle := next(obstacles, None)) is not None:
        return obstacle
    if len({view.x for view in views}) > 1:
        return "the layers read different tensors"
    return None


def _refuse_result(module: fx.GraphModule, layers: tuple[fx.Node, ...], node: fx.Node) -> str | None:
    dtypes = {item.meta["val"].dtype for item in (*layers, node)}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        return f"its result is {node.meta['val'].dtype}"
    views = [LinearView.of(item) for item in (*layers, node) if is_layer(item)]
    parameters = [item for view in views for item in (view.weight, view.bias) if item is not None]
    if any(constant(module, item) is None for item in parameters):
        return "a layer's weight or its bias is not a constant"
    if node.target is LINEAR:
        # What it adds may not be there yet where the first layer stands.
        return None if LinearView.of(node).residual is None else "the second layer adds a residual"
    if any(shape_of(layer) != shape_of(node) for layer in layers):
        return "its operands broadcast to a larger shape"
    constants = [constant(module, operand) for operand in operands_of(node)]
    if any(value is not None and value.shape[:-1].numel() != 1 for value in constants):
        return "the constant is not by output channel"
    return None


def _refuse_cost(first: LinearView, second: LinearView) -> str | None:
    (middle, inputs), outputs = shape_of(first.weight), shape_of(second.weight)[0]
    if outputs * inputs > outputs * middle + middle * inputs:
        return "one layer takes more multiplications than the two"
    return None
