"""What stands between dequantization and quantization, element by element, computes on integers.

Given:   y = quantize(act(dequantize(a, sa, za) + dequantize(b, sb, zb)), sy, zy)      without b, act or both, too
Result:  y = rescale(a, multiplier sa / sy, residual b, its multiplier sb / sy, act, zy), or a where that is the same

A layer's own sum is in `lower-int8`; here is what stays where the model rounds the layer's result before it adds.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import add_constant, aten, shape_of
from lwc.ops import QuantizeView, RescaleView
from lwc.ops.requantize import residual_multiplier, single
from lwc.ops.view import named_arguments
from lwc.passes.fuse_activation import CLAMPS, CURVES, clamp_bounds
from lwc.passes.lower_int8 import Output, bounds_of, integers_of
from lwc.pipeline import Pass
from lwc.trace import Program

_QUANTIZE, _DEQUANTIZE = torch.ops.lwc.quantize.default, torch.ops.lwc.dequantize.default


@dataclass(frozen=True)
class Elementwise:
    """`quantize` rounds clamp(activation(sum of `terms`), minimum, maximum); the terms, one or two, dequantize."""

    quantize: fx.Node
    terms: tuple[fx.Node, ...]
    activation: str
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class LowerInt8Elementwise(Pass[Elementwise]):
    """Additions, activations and changes of scale between dequantization and quantization compute on integers."""

    name: ClassVar[str] = "lower-int8-elementwise"
    introduces: ClassVar[tuple[str, ...]] = ("lwc.rescale.default",)

    def match(self, program: Program, node: fx.Node) -> Elementwise | None:
        """A quantization of what was dequantized, or of a sum or an activation of that."""
        if node.target is not _QUANTIZE:
            return None
        x: Any = node.args[0]
        minimum, maximum = None, None
        if x.target in CLAMPS:
            (minimum, maximum), x = clamp_bounds(x), x.args[0]
        activation = _curve(x)
        terms = _terms(x if activation == "identity" else x.args[0])
        return Elementwise(node, terms, activation, minimum, maximum) if terms else None

    def refuse(self, program: Program, match: Elementwise) -> str | None:
        """Both terms have the shape of the sum, and the bounds an order."""
        if len({shape_of(term) for term in match.terms}) > 1:
            return "its operands broadcast"
        low = -math.inf if match.minimum is None else match.minimum
        high = math.inf if match.maximum is None else match.maximum
        return None if low <= high else "its bounds are reversed, or not numbers"

    def rewrite(self, program: Program, match: Elementwise) -> None:
        """See the module's docstring."""
        graph = program.module.graph
        with graph.inserting_before(match.quantize):
            lowered = _lower(program.module, match)
        match.quantize.replace_all_uses_with(lowered)
        graph.erase_node(match.quantize)


def _curve(node: fx.Node) -> str:
    exact = node.kwargs.get("approximate", "none") == "none"
    return CURVES[node.target] if node.target in CURVES and exact else "identity"


def _terms(node: fx.Node) -> tuple[fx.Node, ...]:
    """What `node` adds, or itself; none where not all of that was dequantized."""
    adds = node.target is aten.add.Tensor and named_arguments(node)["alpha"] == 1
    terms: Any = node.args[:2] if adds else (node,)
    real = all(isinstance(term, fx.Node) and term.target is _DEQUANTIZE for term in terms)
    return tuple(terms) if real else ()


def _lower(module: fx.GraphModule, match: Elementwise) -> fx.Node:
    view = QuantizeView.of(match.quantize)
    # The residual's multiplier has fewer bits: it is the finer of the two.
    terms = sorted((integers_of(module, term) for term in match.terms), key=lambda term: -term.scale)
    x, residual = terms[0], terms[1] if len(terms) > 1 else None
    plain = (match.activation, match.minimum, match.maximum) == ("identity", None, None) and residual is None
    if plain and (x.zero_point, single(x.scale * view.inverse_scale)) == (view.zero_point, 1.0):
        return x.node
    real = match.activation != "identity"
    before, after = (1.0, view.inverse_scale) if real else (view.inverse_scale, 1.0)
    minimum, maximum, zero_point = bounds_of(match.minimum, match.maximum, Output(view, ()))
    operands = RescaleView(
        x.node,
        add_constant(module, f"{match.quantize.name}_multiplier", torch.tensor([x.scale * before])),
        x.zero_point,
        None if residual is None else residual.node,
        1.0 if residual is None else residual_multiplier(residual.scale * before),
        0 if residual is None else residual.zero_point,
        match.activation,
        single(after),
        minimum,
        maximum,
        zero_point,
    )
    return module.graph.call_function(torch.ops.lwc.rescale.default, operands.arguments)
