"""Zero padding joins the convolution that reads it.

Given:   y = conv2d(pad(x, (l, r, t, b), 0), padding=(t', b', l', r'))
Result:  y = conv2d(x, padding=(t + t', b + b', l + l', r + r'))
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
        if node.target is not torch.ops.lwc.conv2d.default or ConvView.of(node).x.target not in _PADS:
            return None
        return node

    def refuse(self, program: Program, match: fx.Node) -> str | None:
        """Only zeros around rows and columns are what a convolution pads with."""
        view = ConvView.of(match)
        return _refuse(view.x, view)

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the module's docstring."""
        match.args = _absorb(ConvView.of(match)).arguments


def _absorb(view: ConvView) -> ConvView:
    left, right, top, bottom = (*_amounts(view.x), 0, 0, 0, 0)[:4]
    own = view.padding
    padding = (own[0] + top, own[1] + bottom, own[2] + left, own[3] + right)
    source: Any = view.x.args[0]
    return replace(view, x=source, padding=padding)


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
