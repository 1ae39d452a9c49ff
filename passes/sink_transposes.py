"""Transposes from NHWC to NCHW move down through what does not care, until each meets its inverse.

    Given:   y = to_nhwc(relu(to_nchw(x)))
    Then:    y = to_nhwc(to_nchw(relu(x)))
    Result:  y = relu(x)

A rule for each kind of operator, in layout_rules.py and layout_shape_rules.py; here is where transposes end.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import shape_of
from lwc.ops import ConvView
from lwc.passes.layout import TO_NHWC, Rewrite, is_permute, nhwc_of
from lwc.passes.layout_rules import concatenate, elementwise
from lwc.passes.layout_shape_rules import (
    flatten_one_pixel,
    flatten_to_tokens,
    global_average,
    upsample_one_pixel,
)
from lwc.pipeline import Pass
from lwc.trace import Program

# Read one by one, so few cost nothing in any layout.
_FEW_CHANNELS = 4


@dataclass(frozen=True)
class SinkTransposes(Pass[Rewrite]):
    """Transposes around convolutions move down until they cancel."""

    name: ClassVar[str] = "sink-transposes"
    repeat: ClassVar[bool] = True

    def match(self, program: Program, node: fx.Node) -> Rewrite | None:
        """The first rule's rewrite that fits `node`."""
        if node.op != "call_function":
            return None
        found = (rule(program.module, node) for rule in _RULES)
        return next((rewrite for rewrite in found if rewrite is not None), None)

    def rewrite(self, program: Program, match: Rewrite) -> None:
        """As the rule says."""
        match()


def _cancel(module: fx.GraphModule, node: fx.Node) -> Rewrite | None:
    """to_nhwc(to_nchw(x)) = x."""
    x = nhwc_of(node.args[0]) if is_permute(node, TO_NHWC) else None
    if x is None:
        return None

    def rewrite() -> None:
        node.replace_all_uses_with(x)

    return rewrite


def _read_image(module: fx.GraphModule, node: fx.Node) -> Rewrite | None:
    """conv2d(to_nhwc(image), NHWC) = conv2d(image, NCHW): the first convolution reads the input as it is."""
    view = ConvView.of(node) if node.target is torch.ops.lwc.conv2d.default else None
    if view is None or view.input_layout != "NHWC" or not is_permute(view.x, TO_NHWC):
        return None
    image: Any = view.x.args[0]
    if image.op != "placeholder" or shape_of(image)[1] > _FEW_CHANNELS:
        return None
    # A matrix product wants the channels together, and so does a kernel for each channel.
    if view.groups != 1 or shape_of(view.weight)[2:] == (1, 1):
        return None

    def rewrite() -> None:
        node.args = replace(view, x=image, input_layout="NCHW").arguments

    return rewrite


_RULES: tuple[Callable[[fx.GraphModule, fx.Node], Rewrite | None], ...] = (
    _cancel,
    elementwise,
    concatenate,
    global_average,
    upsample_one_pixel,
    flatten_one_pixel,
    flatten_to_tokens,
    _read_image,
)
