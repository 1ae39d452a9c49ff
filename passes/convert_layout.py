"""NHWC throughout: a pointwise convolution is then a matrix product, and image and tokens are one layout.

    Given:   y = conv2d(x)                          NCHW -> NCHW
    Result:  y = to_nchw(conv2d(to_nhwc(x)))        NHWC -> NHWC

The transposes are then moved down through what does not care (see layout_rules.py) and cancel in pairs.
The one that would turn the graph's input is left out: the first convolution reads NCHW.

    Given:   y = conv2d(to_nhwc(x))                 NHWC -> NHWC
    Result:  y = conv2d(x)                          NCHW -> NHWC
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import calls, shape_of
from lwc.ops import ConvView
from lwc.passes.layout_rules import TO_NCHW, TO_NHWC, is_permute, move_down, permute
from lwc.pipeline import Pass, PassResult
from lwc.trace import Program

_CONV2D = torch.ops.lwc.conv2d.default


@dataclass(frozen=True)
class ConvertLayout(Pass):
    """Convolutions read and write NHWC; the transposes between them go."""

    name: ClassVar[str] = "convert-layout"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)

    def run(self, program: Program) -> PassResult:
        """See the module's docstring."""
        graph = program.module.graph
        candidates = [n for n in calls(graph, _CONV2D) if ConvView.of(n).output_layout == "NCHW"]
        for node in candidates:
            _convert(graph, node)
        while any(move_down(program.module, node) for node in list(graph.nodes)):
            graph.eliminate_dead_code()
        for node in calls(graph, _CONV2D):
            _read_input_as_it_is(node)
        return PassResult(len(candidates))


def _convert(graph: fx.Graph, node: fx.Node) -> None:
    view = ConvView.of(node)
    with graph.inserting_before(node):
        x = permute(graph, view.x, TO_NHWC)
    node.args = replace(view, x=x, input_layout="NHWC", output_layout="NHWC").arguments  # type: ignore[assignment]
    node.meta["val"] = node.meta["val"].permute(TO_NHWC)
    with graph.inserting_after(node):
        y = permute(graph, node, TO_NCHW)
    node.replace_all_uses_with(y, delete_user_cb=lambda user: user is not y)


def _read_input_as_it_is(node: fx.Node) -> None:
    """Few channels (an image's) read one by one cost nothing, whatever their stride."""
    view = ConvView.of(node)
    source: Any = view.x.args[0] if is_permute(view.x, TO_NHWC) else None
    if source is None or source.op != "placeholder" or view.groups != 1:
        return
    if shape_of(view.weight)[2:] == (1, 1) or shape_of(source)[1] > 4:
        return
    node.args = replace(view, x=source, input_layout="NCHW").arguments  # type: ignore[assignment]
