"""Zero padding joins the convolution that reads it.

Given:   y = conv2d(pad(x, (l, r, t, b), 0), padding=(t', b', l', r'))
Result:  y = conv2d(x, padding=(t + t', b + b', l + l', r + r'))
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import aten, calls
from lwc.ops import ConvView
from lwc.ops.view import named_arguments
from lwc.pipeline import Pass, PassResult, Refusal
from lwc.trace import Program

_PADS = (aten.pad.default, aten.constant_pad_nd.default)


@dataclass(frozen=True)
class FoldPadding(Pass):
    """Zero padding, symmetric or not, joins the convolution that reads it."""

    name: ClassVar[str] = "fold-padding"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)

    def run(self, program: Program) -> PassResult:
        """See the module's docstring."""
        count, refusals = 0, []
        for node in calls(program.module.graph, torch.ops.lwc.conv2d.default):
            # One padding may read another.
            while (view := ConvView.of(node)).x.target in _PADS:
                reason = _refuse(view.x, view)
                if reason is not None:
                    refusals.append(Refusal(node.name, reason))
                    break
                node.args = _absorb(view).arguments  # type: ignore[assignment]
                count += 1
        return PassResult(count, tuple(refusals))


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
