"""Linear layers that read the same tensor, and give the heads of attention, become one layer.

Given:   q = x Wq^T + bq,    k = x Wk^T + bk,    v = x Wv^T + bv
Result:  y = x [Wq; Wk; Wv]^T + [bq; bk; bv],    q = y[..., :nq],  k = y[..., nq:nq+nk],  v = y[..., nq+nk:]

One product reads x once. The slices cost nothing where what reads them takes an offset, as attention does; anywhere
else they would be copies.
"""

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, aten, calls, constant, shape_of, through_reshapes
from lwc.ops import LinearView
from lwc.passes.attention_readers import gives_heads
from lwc.pipeline import Pass
from lwc.trace import Program

_LINEAR = torch.ops.lwc.linear.default
Layers = tuple[fx.Node, ...]


@dataclass(frozen=True)
class MergeParallelLinear(Pass[Layers]):
    """Linear layers that read the same tensor, such as Q, K and V, become one with stacked weights."""

    name: ClassVar[str] = "merge-parallel-linear"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)

    def match(self, program: Program, node: fx.Node) -> Layers | None:
        """The first of several linear layers on the same tensor, reshapes to another node aside, and the others."""
        if node.target is not _LINEAR:
            return None
        read = _what_it_reads(node)
        layers = tuple(
            layer for layer in calls(program.module.graph, _LINEAR) if _what_it_reads(layer) == read
        )
        return layers if len(layers) > 1 and node is layers[0] else None

    def refuse(self, program: Program, match: Layers) -> str | None:
        """One layer has one dtype and one epilogue; and it must save more than its slices cost."""
        return _refuse_layers(program.module, match) or _refuse_cost(program.module, match)

    def rewrite(self, program: Program, match: Layers) -> None:
        """See the module's docstring."""
        module, first = program.module, match[0]
        weight, bias = _stacked(module, match)
        bounds = accumulate((shape_of(layer)[-1] for layer in match), initial=0)
        with module.graph.inserting_before(first):
            new_weight = add_constant(module, f"{first.name}_weights", weight)
            new_bias = None if bias is None else add_constant(module, f"{first.name}_biases", bias)
            view: Any = replace(LinearView.of(first), weight=new_weight, bias=new_bias)
            merged = module.graph.call_function(_LINEAR, view.arguments)
            merged.meta = dict(first.meta)
            for layer, (start, end) in zip(match, pairwise(bounds), strict=True):
                axis = len(shape_of(layer)) - 1
                part = module.graph.call_function(aten.slice.Tensor, (merged, axis, start, end))
                part.meta = dict(layer.meta)
                layer.replace_all_uses_with(part)
        for layer in match:
            module.graph.erase_node(layer)


def _what_it_reads(layer: fx.Node) -> tuple[fx.Node, tuple[int, ...]]:
    x = LinearView.of(layer).x
    return through_reshapes(x), shape_of(x)


def _stacked(module: fx.GraphModule, layers: Layers) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The layers' weights and biases one below the other; a missing bias is zeros, and all missing are None."""
    views = [LinearView.of(layer) for layer in layers]
    weights = [constant(module, view.weight) for view in views]
    biases = [constant(module, view.bias) for view in views]
    whole = torch.cat([weight for weight in weights if weight is not None])
    if all(bias is None for bias in biases):
        return whole, None
    filled = [
        whole.new_zeros(shape_of(layer)[-1]) if bias is None else bias
        for layer, bias in zip(layers, biases, strict=True)
    ]
    return whole, torch.cat(filled)


def _refuse_layers(module: fx.GraphModule, layers: Layers) -> str | None:
    views = [LinearView.of(layer) for layer in layers]
    dtypes = {layer.meta["val"].dtype for layer in layers}
    if not dtypes <= {torch.float32, torch.float64}:
        return f"the layers' result is {dtypes.pop()}"
    if len({(view.activation, view.minimum, view.maximum) for view in views}) > 1:
        return "the layers' activations differ"
    if any(view.residual is not None for view in views):
        return "a layer adds a residual"
    parameters = [item for view in views for item in (view.weight, view.bias) if item is not None]
    if any(constant(module, item) is None for item in parameters):
        return "a layer's weight or its bias is not a constant"
    return None


def _refuse_cost(module: fx.GraphModule, layers: Layers) -> str | None:
    if not all(gives_heads(layer) for layer in layers):
        return "a layer's result is not the heads of attention: its slice would be a copy"
    if any(_readers(module, LinearView.of(layer).weight) > 1 for layer in layers):
        return "a layer's weight has another reader: it would be stored twice"
    return None


def _readers(module: fx.GraphModule, weight: fx.Node) -> int:
    """How many operators read the tensor behind `weight`, which may have several names."""
    tensor: Any = constant(module, weight)
    nodes = module.graph.find_nodes(op="get_attr")
    same = [
        node for node in nodes if (found := constant(module, node)) is not None and found.is_set_to(tensor)
    ]
    return sum(len(node.users) for node in same)
