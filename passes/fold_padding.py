"""Zero padding joins the convolution that reads it.

Given:   y = conv2d(pad(x, (l, r, t, b), 0), padding=(t', b', l', r'))
Result:  y = conv2d(x, padding=(t + t', b + b', l + l', r + r'))

The padding may be rounded before it is read: zero stays zero.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import aten
from lwc.ops import ConvView
from lwc.ops.view import named_arguments
from lwc.pipeline import Pass
from lwc.trace import Program

_QUANTIZE, _DEQUANTIZE = torch.ops.lwc.quantize.default, torch.ops.lwc.dequantize.default
_PADS = (aten.pad.default, aten.constant_pad_nd.default)


@dataclass(frozen=True)
class FoldPadding(Pass[fx.Node]):
    """Zero padding, symmetric or not, joins the convolution that reads it."""

    name: ClassVar[str] = "fold-padding"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)
    # One padding may read another.
    repeat: ClassVar[bool] = True

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A convolution that reads a padding."""
        if node.target is not torch.ops.lwc.conv2d.default:
            return None
        return node if _before_rounding(ConvView.of(node).x).target in _PADS else None

    def refuse(self, program: Program, match: fx.Node) -> str | None:
        """Only zeros around rows and columns are what a convolution pads with."""
        view = ConvView.of(match)
        return _refuse(_before_rounding(view.x), view)

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the module's docstring."""
        view = ConvView.of(match)
        with program.module.graph.inserting_before(match):
            x = _without_padding(program.module.graph, view.x)
        match.args = replace(view, x=x, padding=_absorbed(view)).arguments


def _before_rounding(x: fx.Node) -> Any:
    """What is rounded to 8 bits and back where `x` is that, else `x`."""
    rounds = x.target is _DEQUANTIZE and x.args[0].target is _QUANTIZE  # type: ignore[union-attr]
    return x.args[0].args[0] if rounds else x  # type: ignore[union-attr]


def _without_padding(graph: fx.Graph, x: fx.Node) -> Any:
    """What is padded, rounded as `x` is, at the graph's insertion point."""
    pad: Any = _before_rounding(x)
    if pad is x:
        return pad.args[0]
    rounded: Any = x.args[0]
    integers = graph.call_function(_QUANTIZE, (pad.args[0], *rounded.args[1:]))
    return graph.call_function(_DEQUANTIZE, (integers, *x.args[1:]))


def _absorbed(view: ConvView) -> tuple[int, int, int, int]:
    left, right, top, bottom = (*_amounts(_before_rounding(view.x)), 0, 0, 0, 0)[:4]
    own = view.padding
    return (own[0] + top, own[1] + bottom, own[2] + left, own[3] + right)


def _amounts(pad: fx.Node) -> tuple[int, ...]:
    return tuple(named_arguments(pad)["pad"])


def _refuse(pad: fx.Node, view: ConvView) -> str | None:
    values = named_arguments(pad)
    if values.get("mode", "constant") != "constant":
        return f"the padding is {values['mode']}, not constant"
    if (values["value"] or 0) != 0:
        return f"the padding value is {values['value']}, not zero"
    amounts = _amounts(pad)
    if len(amounts) > 4 and any(amounts[4:]):
        return "the padding reaches the channel or the batch axis"
    if min(amounts, default=0) < 0:
        return "the padding is negative: it crops"
    if view.input_layout != "NCHW":
        return "the convolution reads NHWC"
    return None
