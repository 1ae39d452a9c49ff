"""Each depthwise convolution gets the kernel that costs least on the target, alone or with the pointwise one after it.

Given:   y = conv2d(conv2d(x, W, groups=C, kernel="auto"), P)       P of 1 x 1 pixels
Result:  y = conv2d(conv2d(x, W, groups=C, kernel="rows"), P)       where two kernels cost less than one
         y = separable_conv2d(x, W, P)                              where one does

The costs are those of `lwc.targets.kernels.depthwise_cost`, for a GPU of `lwc.targets.kernels.cuda.separable_cost`:
GPUs have one kernel for a depthwise convolution by itself, which needs no name.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import fx

from lwc.graph import shape_of
from lwc.ops import ConvView, SeparableView
from lwc.pipeline import Pass
from lwc.targets.kernels import separable
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.cuda import separable_cost
from lwc.targets.kernels.depthwise import KERNELS, UNROLLED
from lwc.targets.kernels.depthwise_cost import kernel_costs
from lwc.targets.target import Target
from lwc.trace import Program

_CONV2D = torch.ops.lwc.conv2d.default
_NHWC = ("NHWC", "NHWC")


@dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution, and the pointwise one to compute with it, or why there is none."""

    node: fx.Node
    pointwise: fx.Node | None
    alone: str


@dataclass(frozen=True)
class SelectDepthwiseKernel(Pass[Depthwise]):
    """Each depthwise convolution gets the kernel that costs least on the target.

    kernel: `auto`, or the name of the one that all get. join: whether one kernel may compute two layers.
    """

    name: ClassVar[str] = "select-depthwise-kernel"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)
    introduces: ClassVar[tuple[str, ...]] = ("lwc.separable_conv2d.default",)
    kernel: str = "auto"
    join: bool = True

    def __post_init__(self) -> None:
        known = ("auto", *KERNELS, separable.NAME)
        if self.kernel not in known:
            raise ValueError(f"kernel {self.kernel!r} is unknown; choose from {', '.join(known)}")

    def match(self, program: Program, node: fx.Node) -> Depthwise | None:
        """A depthwise convolution whose kernel is not chosen yet."""
        if node.target is not _CONV2D:
            return None
        view = ConvView.of(node)
        if view.groups == 1 or shape_of(view.weight)[1] != 1 or view.kernel != "auto":
            return None
        pointwise = next(iter(node.users))
        alone = _why_alone(node, pointwise) if self.join else "none is to be joined"
        return Depthwise(node, None if alone else pointwise, alone)

    def refuse(self, program: Program, match: Depthwise) -> str | None:
        """The kernels know one layout and one result for each channel; the costs need a target."""
        view = ConvView.of(match.node)
        if program.target is None:
            return "the target is not known"
        if (view.input_layout, view.output_layout) != _NHWC:
            return "it does not read and write NHWC"
        if shape_of(view.weight)[0] != view.groups:
            return "it has several results for each channel"
        if self.kernel in KERNELS and program.target.gpu is not None:
            return f"the kernel {self.kernel!r} is for processors"
        if match.pointwise is None and (self.kernel == separable.NAME or program.target.gpu is not None):
            return f"it must be by itself: {match.alone}"
        return None if program.target.gpu is None else self._why_apart(match, program.target)

    def _why_apart(self, match: Depthwise, target: Target) -> str | None:
        """Why a GPU is not to compute both in one kernel; None where it is."""
        if math.prod(_window(match).kernel) > UNROLLED:
            return f"a window of more than {UNROLLED} pixels takes too many registers in one kernel"
        costs = _costs(match, target)
        if self.kernel == separable.NAME or min(costs, key=lambda name: costs[name]) == separable.NAME:
            return None
        return f"one kernel with the pointwise convolution costs more: {_listed(costs)} thousand cycles"

    def rewrite(self, program: Program, match: Depthwise) -> str:
        """See the module's docstring."""
        assert program.target is not None
        costs = _costs(match, program.target)
        chosen = min(costs, key=lambda name: costs[name]) if self.kernel == "auto" else self.kernel
        if chosen == separable.NAME:
            assert match.pointwise is not None
            _join(program.module.graph, match.node, match.pointwise)
        else:
            match.node.args = replace(ConvView.of(match.node), kernel=chosen).arguments
        scope = f"by itself: {match.alone}" if match.pointwise is None else "with the pointwise convolution"
        return f"{chosen}, of {_listed(costs)} thousand cycles {scope}"


def _listed(costs: dict[str, float]) -> str:
    return ", ".join(f"{name} {cost / 1000:.0f}" for name, cost in costs.items())


def _why_alone(node: fx.Node, reader: fx.Node) -> str:
    """Why the convolution cannot be computed with the first reader of its result; empty where it can."""
    if ConvView.of(node).residual is not None:
        return "it adds another tensor"
    if len(node.users) > 1:
        return "its result has several readers"
    if reader.target is not _CONV2D:
        return "no convolution reads its result"
    view = ConvView.of(reader)
    if shape_of(view.weight)[2:] != (1, 1) or view.groups > 1 or view.stride != (1, 1) or any(view.padding):
        return "the convolution after it is not pointwise"
    if (view.input_layout, view.output_layout) != _NHWC:
        return "the pointwise convolution does not read and write NHWC"
    if node is view.residual:
        return "the pointwise convolution adds its result"
    return ""


def _window(match: Depthwise) -> Window:
    view = ConvView.of(match.node)
    height, width = shape_of(view.weight)[2:]
    return Window((height, width), view.stride, view.padding, view.dilation)


def _costs(match: Depthwise, target: Target) -> dict[str, float]:
    shape, window = shape_of(ConvView.of(match.node).x), _window(match)
    outputs = None if match.pointwise is None else shape_of(match.pointwise)[-1]
    if target.gpu is not None and outputs is not None:
        return separable_cost.kernel_costs(shape, window, outputs, target.gpu)
    return kernel_costs(shape, window, outputs, target)


def _join(graph: fx.Graph, node: fx.Node, pointwise: fx.Node) -> None:
    window, view = ConvView.of(node), ConvView.of(pointwise)
    joined = SeparableView(
        window.x,
        window.weight,
        window.bias,
        window.stride,
        window.padding,
        window.dilation,
        window.activation,
        window.minimum,
        window.maximum,
        view.weight,
        view.bias,
        view.residual,
        view.activation,
        view.minimum,
        view.maximum,
    )
    with graph.inserting_before(pointwise):
        both = graph.call_function(torch.ops.lwc.separable_conv2d.default, joined.arguments)
    both.meta = dict(pointwise.meta)
    pointwise.replace_all_uses_with(both)
    graph.erase_node(pointwise)
