"""Channels that are zero, constant or unread go, from the layers that write them to those that read them.

Given:   y = act(op1(x, V, a));  z = op2(f(y), W, b)      V[c] = 0, or W[:, c] = 0;  f works channel by channel
Result:  the same without V[c], a[c] and W[:, c], and with b + W[:, c] k where f(y)[:, c] is the constant k
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import fx

from lwc.graph import RESHAPES, add_constant, shape_of
from lwc.passes.channel_groups import ChannelGroup, channel_groups
from lwc.passes.channel_layer import Layer, layer_of
from lwc.passes.channel_values import channel_values
from lwc.pipeline import Pass
from lwc.trace import Program


@dataclass(frozen=True)
class Pruning:
    """A group of tensors with the same channels, and which of these are dead.

    values: by member and channel the constant that it holds everywhere, NaN where it varies; empty where the group
        has an obstacle.
    dead: the channels that a layer writes with zero weights or that every layer reads with zero weights.
    """

    group: ChannelGroup
    values: dict[fx.Node, torch.Tensor]
    dead: torch.Tensor

    @property
    def removable(self) -> torch.Tensor:
        """The dead channels that each reader can do without; one channel always stays."""
        removable = self.dead.clone()
        for reader in self.group.readers:
            removable &= _dispensable(reader, self.values[reader.view.x])
        if removable.all():
            removable[0] = False
        return removable


@dataclass(frozen=True)
class PruneChannels(Pass[Pruning]):
    """Channels of zero weights are removed from the layers that write and read them."""

    name: ClassVar[str] = "prune-channels"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)
    # Without its channels a layer may have more zero rows, or read less.
    repeat: ClassVar[bool] = True

    def candidates(self, program: Program) -> Iterator[tuple[fx.Node, Pruning]]:
        """Each group with a dead channel, at its first node."""
        done: set[fx.Node] = set()
        # A rewrite changes the weights of the groups beside it: look anew after each.
        while (match := _first(program, done)) is not None:
            done.add(match.group.members[0])
            yield match.group.members[0], match

    def refuse(self, program: Program, match: Pruning) -> str | None:
        """All that touches the channel has to be known, and to do without it."""
        if match.group.obstacle is not None:
            return match.group.obstacle
        return None if match.removable.any() else _refuse(match)

    def rewrite(self, program: Program, match: Pruning) -> None:
        """See the module's docstring."""
        module, group, gone = program.module, match.group, match.removable
        for reader in group.readers:
            _read_without(module, reader, gone, match.values[reader.view.x])
        for writer in group.writers:
            _write_without(module, writer.node, gone)
        for node in group.members:
            value = node.meta["val"]
            node.meta["val"] = value.narrow(group.axis, 0, int((~gone).sum()))
            if node.target in RESHAPES:
                node.args = (node.args[0], list(shape_of(node)))


def _first(program: Program, done: set[fx.Node]) -> Pruning | None:
    """The first group outside `done` that has a dead channel and another one."""
    for group in channel_groups(program):
        if group.members[0] in done or not group.writers:
            continue
        dead = torch.stack([layer.zero_rows for layer in group.writers]).any(0)
        if group.readers:
            dead = dead | torch.stack([layer.zero_columns for layer in group.readers]).all(0)
        if dead.any() and len(dead) > 1:
            return Pruning(group, {} if group.obstacle else channel_values(group), dead)
    return None


def _dispensable(reader: Layer, values: torch.Tensor) -> torch.Tensor:
    """The channels that `reader` does not need: unread, zero, or constants that its bias can hold."""
    # Zeros around the image are not the constant.
    foldable = (values == 0) if reader.padded else values.isfinite()
    return foldable | reader.zero_columns


def _refuse(match: Pruning) -> str:
    channel = int(match.dead.nonzero()[0])
    for reader in match.group.readers:
        values = match.values[reader.view.x]
        if _dispensable(reader, values)[channel]:
            continue
        if values[channel].isfinite():
            return f"channel {channel} is a constant other than zero, and {reader.node.name} pads with zeros"
        return f"channel {channel} is not constant where {reader.node.name} reads it"
    raise AssertionError("a dead channel that every reader can do without is removable")


def _read_without(module: fx.GraphModule, reader: Layer, gone: torch.Tensor, values: torch.Tensor) -> None:
    constants = torch.where(gone & ~reader.zero_columns, values, 0).double()
    share = reader.weight.double().flatten(2).sum(2) if reader.weight.dim() > 2 else reader.weight.double()
    added = share @ constants
    bias = reader.bias
    if added.any():
        bias = (added if bias is None else bias.double() + added).to(reader.weight.dtype)
    _set_parameters(module, reader, reader.weight[:, ~gone], bias)


def _write_without(module: fx.GraphModule, node: fx.Node, gone: torch.Tensor) -> None:
    # It may have read the group too, and have new parameters since.
    layer = layer_of(module, node)
    assert layer is not None
    bias = None if layer.bias is None else layer.bias[~gone]
    _set_parameters(module, layer, layer.weight[~gone], bias)


def _set_parameters(
    module: fx.GraphModule, layer: Layer, weight: torch.Tensor, bias: torch.Tensor | None
) -> None:
    view = layer.view
    if layer.depthwise:
        view = replace(view, groups=len(weight))
    with module.graph.inserting_before(layer.node):
        # New tensors: the old ones may belong to other layers too.
        view = replace(view, weight=add_constant(module, f"{view.weight.target}_pruned", weight))
        if bias is not layer.bias:
            name = f"{layer.view.weight.target}_bias_pruned"
            view = replace(view, bias=None if bias is None else add_constant(module, name, bias))
    layer.node.args = view.arguments
