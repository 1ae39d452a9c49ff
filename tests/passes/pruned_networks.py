"""Networks some of whose channels are zero, for tests of the passes that prune."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls, constant
from lwc.ops import ConvView, LinearView
from lwc.trace import Program, trace
from tests.programs import Compute, random_inputs, randomize

IMAGE = (2, 3, 8, 7)
PASSES = "raise-operators,fold-batch-norm,fuse-activation,prune-channels"

Function = Callable[..., Any]


def pruned_program(module: nn.Module, rng: torch.Generator, edit: Callable[[], None]) -> Program:
    """`module` with random parameters after `edit`, which sets some of them to zero."""
    randomize(module, rng)
    with torch.no_grad():
        edit()
    return trace(module.eval(), random_inputs((IMAGE,), rng), ("x",))


def silence(layer: Any, *channels: int, bias: float = 0.0) -> None:
    """Output channels of zero weights."""
    layer.weight[list(channels)] = 0
    if layer.bias is not None:
        layer.bias[list(channels)] = bias


def ignore(layer: Any, *channels: int) -> None:
    """Input channels of zero weights."""
    layer.weight[:, list(channels)] = 0


def weight_shapes(program: Program) -> list[tuple[int, ...]]:
    """The shapes of the layers' weights, in the graph's order."""
    shapes = []
    for node in calls(program.module.graph, torch.ops.lwc.conv2d.default, torch.ops.lwc.linear.default):
        convolution = node.target is torch.ops.lwc.conv2d.default
        view: Any = ConvView.of(node) if convolution else LinearView.of(node)
        weight = constant(program.module, view.weight)
        assert weight is not None
        shapes.append(tuple(weight.shape))
    return shapes


def mobile_block() -> tuple[Any, ...]:
    """Pointwise, depthwise and pointwise, each with its batch norm."""
    return (
        *(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 5, 1, bias=False), nn.BatchNorm2d(5)),
    )


def squeeze_excite(*parts: Any) -> nn.Module:
    """A convolution whose channels are gated by their own means, before another convolution."""

    def gated(first: Function, down: Function, up: Function, last: Function, x: torch.Tensor) -> torch.Tensor:
        y = first(x).relu()
        gate = up(down(functional.adaptive_avg_pool2d(y, 1)).relu()).sigmoid()
        return last(y * gate)  # type: ignore[no-any-return]

    return Compute(gated, *parts)


def residual(*parts: Any) -> nn.Module:
    """Two branches that are added, before a convolution with zero padding."""
    return Compute(lambda a, b, last, x: last((a(x).relu() + b(x)).relu()), *parts)
