"""Which tensors share their channels: they lose a channel together, or not at all.

Given:   y = conv2d(x, V);  z = relu(y) + conv2d(u, W);  w = linear(mean(z), U)
Result:  one group of y, relu(y), conv2d(u, W), z and mean(z), which the layer w reads
"""

from dataclasses import dataclass
from typing import Any

import networkx
from torch import fx

from lwc.graph import ELEMENTWISE, RESHAPES, aten, shape_of
from lwc.ops.view import named_arguments
from lwc.passes.channel_layer import Layer, layer_of
from lwc.trace import Program

_POOLS = (aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default)


@dataclass(frozen=True)
class ChannelGroup:
    """Tensors with the same channels.

    axis: where each of `members` (in the graph's order) has its channels.
    writers: the layers among the members.
    readers: the layers that read a member and mix its channels.
    obstacle: why no channel of the group can go, if so.
    """

    axis: int
    members: tuple[fx.Node, ...]
    writers: tuple[Layer, ...]
    readers: tuple[Layer, ...]
    obstacle: str | None


def channel_groups(program: Program) -> tuple[ChannelGroup, ...]:
    """The groups of all layers' outputs, in the graph's order."""
    nodes = list(program.module.graph.nodes)
    layers = {node: layer for node in nodes if (layer := layer_of(program.module, node)) is not None}
    axes = {node: layer.axis for node, layer in layers.items()}
    ties: Any = networkx.DiGraph()
    ties.add_nodes_from(layers)
    for node in nodes:
        axis = _kept_axis(node, layers.get(node), axes)
        if axis is None:
            continue
        axes[node] = axis
        for operand in [layers[node].view.x] if node in layers else node.all_input_nodes:
            axes[operand] = axis
            ties.add_edge(operand, node)
    position = {node: number for number, node in enumerate(nodes)}
    parts = [sorted(part, key=position.__getitem__) for part in networkx.weakly_connected_components(ties)]
    parts.sort(key=lambda part: position[part[0]])
    return tuple(_group(part, axes[part[0]], layers, ties) for part in parts)


def _kept_axis(node: fx.Node, layer: Layer | None, axes: dict[fx.Node, int]) -> int | None:
    """The axis on which the channels of `node` are those of its operands, one by one; None where they are not."""
    if layer is not None:
        return 1 if layer.depthwise and axes.get(layer.view.x, 1) == 1 else None
    known = {axes[operand] for operand in node.all_input_nodes if operand in axes}
    if len(known) != 1:
        return None
    (axis,) = known
    return axis if _keeps(node, axis) else None


def _keeps(node: fx.Node, axis: int) -> bool:
    if node.target in ELEMENTWISE:
        shapes = [shape_of(operand) for operand in (*node.all_input_nodes, node)]
        # Nothing that is broadcast along the channels.
        return len({(len(shape), shape[axis : axis + 1]) for shape in shapes}) == 1
    if node.target in _POOLS:
        return axis == 1 and len(shape_of(node)) == 4
    if node.target is aten.mean.dim:
        rank = len(shape_of(node.all_input_nodes[0]))
        return all(dim % rank > axis for dim in named_arguments(node)["dim"] or [axis])
    if node.target in RESHAPES:
        return shape_of(node.all_input_nodes[0])[: axis + 1] == shape_of(node)[: axis + 1]
    return False


def _group(part: list[fx.Node], axis: int, layers: dict[fx.Node, Layer], ties: Any) -> ChannelGroup:
    readers: list[Layer] = []
    obstacles: list[str] = []
    for node in part:
        if ties.in_degree(node) == 0 and (node not in layers or layers[node].depthwise):
            obstacles.append(f"{node.name} cannot write fewer channels")
        for user in node.users:
            if ties.has_edge(node, user):
                continue
            if user in layers and not layers[user].depthwise and layers[user].axis == axis:
                readers.append(layers[user])
            else:
                obstacles.append(f"{user.name} cannot read fewer channels")
    writers = tuple(layers[node] for node in part if node in layers)
    return ChannelGroup(axis, tuple(part), writers, tuple(readers), next(iter(obstacles), None))
