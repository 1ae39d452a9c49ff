"""NHWC throughout: a pointwise convolution is then a matrix product, and image and tokens are one layout.

    Given:   y = conv2d(x, residual=r)                                  NCHW -> NCHW
    Result:  y = to_nchw(conv2d(to_nhwc(x), residual=to_nhwc(r)))       NHWC -> NHWC

`sink-transposes` then lets the transposes cancel in pairs.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import fx

from lwc.ops import ConvView
from lwc.passes.layout import TO_NCHW, TO_NHWC, permute
from lwc.pipeline import Pass
from lwc.trace import Program

_NCHW = ("NCHW", "NCHW")


@dataclass(frozen=True)
class ConvertLayout(Pass[fx.Node]):
    """Convolutions read and write NHWC, between transposes."""

    name: ClassVar[str] = "convert-layout"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A convolution that reads and writes NCHW."""
        view = ConvView.of(node) if node.target is torch.ops.lwc.conv2d.default else None
        return node if view is not None and (view.input_layout, view.output_layout) == _NCHW else None

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the module's docstring."""
        graph, view = program.module.graph, ConvView.of(match)
        with graph.inserting_before(match):
            x = permute(graph, view.x, TO_NHWC)
            residual = None if view.residual is None else permute(graph, view.residual, TO_NHWC)
        converted = replace(view, x=x, residual=residual, input_layout="NHWC", output_layout="NHWC")
        match.args = converted.arguments
        match.meta["val"] = match.meta["val"].permute(TO_NHWC)
        with graph.inserting_after(match):
            y = permute(graph, match, TO_NCHW)
        match.replace_all_uses_with(y, delete_user_cb=lambda user: user is not y)
