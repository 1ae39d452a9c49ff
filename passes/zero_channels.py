"""The channels of least magnitude are no longer read, in each group of channels that go together.

Given:   y = op1(x, V, a);  z = op2(f(y), W, b)           f works channel by channel
Result:  z = op2(f(y), W', b + W[:, c] m)                 W'[:, c] = 0, m = mean(f(y)[:, c]) on the example inputs

for the channels c of the lowest score. That is a sum over the layers l of the group, those that write it, depthwise
ones too, and those that read it,

    score[c] = sum_l norm(V_l[c]) / sqrt(mean_k(norm(V_l[k])^2))

where norm is the L2 norm of the weights that make the channel, or that read it (W[:, c]), batch norm folded in; the
divisor makes layers of different scale count alike. Li et al., "Pruning filters for efficient convnets", ICLR 2017,
rank filters by their norms. The mean keeps what the next layer receives near what it was. prune-channels then removes
what nothing reads. Nothing is trained anew, so the model is less accurate.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import add_constant
from lwc.passes.channel_groups import ChannelGroup, channel_groups
from lwc.passes.channel_layer import Layer, layer_of
from lwc.pipeline import Pass
from lwc.trace import Program


@dataclass(frozen=True)
class Ranking:
    """A group, its channels from the lowest score to the highest (indices), and each member's means by channel."""

    group: ChannelGroup
    order: torch.Tensor
    means: dict[fx.Node, torch.Tensor]


@dataclass(frozen=True)
class ZeroChannels(Pass[Ranking]):
    """Channels of least magnitude, a fraction of each group, are replaced by their means.

    fraction: at most this part of a group's channels, between 0 and 1.
    multiple: the number of channels that stay is rounded up to a multiple of it; 0 stands for the numbers in a vector
        of the target, 8 where no target is known: whole vectors run fastest.
    """

    name: ClassVar[str] = "zero-channels"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)
    redefines: ClassVar[bool] = True

    fraction: float = 0.3
    multiple: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError(f"fraction {self.fraction}: out of range; give a number above 0 and below 1")
        if self.multiple < 0:
            raise ValueError(f"multiple {self.multiple}: out of range; give 0 or more")

    def candidates(self, program: Program) -> Iterator[tuple[fx.Node, Ranking]]:
        """Each group at its first node; all are ranked before any is rewritten."""
        groups = channel_groups(program)
        recorder = _Recorder(program.module, groups)
        with torch.no_grad():
            recorder.run(*program.inputs)
        yield from [(group.members[0], Ranking(group, _order(group), recorder.means)) for group in groups]

    def refuse(self, program: Program, match: Ranking) -> str | None:
        """All that touches the channels has to be known, and enough of them have to stay."""
        if match.group.obstacle is not None:
            return match.group.obstacle
        if self._number(program, match) == 0:
            return (
                f"rounded up to a multiple of {self._multiple(program)}, all {len(match.order)} channels stay"
            )
        return None

    def rewrite(self, program: Program, match: Ranking) -> None:
        """See the module's docstring."""
        gone = match.order[: self._number(program, match)]
        for reader in match.group.readers:
            _ignore(program.module, reader.node, gone, match.means[reader.view.x][gone])

    def _number(self, program: Program, match: Ranking) -> int:
        """How many channels go; one always stays."""
        channels, multiple = len(match.order), self._multiple(program)
        kept = max(1, channels - int(self.fraction * channels))
        return max(0, channels - -(-kept // multiple) * multiple)

    def _multiple(self, program: Program) -> int:
        return self.multiple or (8 if program.target is None else program.target.float_lanes)


class _Recorder(fx.Interpreter):
    """Runs a program, and keeps the mean of each channel of the groups' members."""

    def __init__(self, module: fx.GraphModule, groups: tuple[ChannelGroup, ...]) -> None:
        super().__init__(module)
        self.means: dict[fx.Node, torch.Tensor] = {}
        self._axes = {node: group.axis for group in groups for node in group.members}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self._axes:
            self.means[n] = value.double().transpose(0, self._axes[n]).flatten(1).mean(1)
        return value


def _order(group: ChannelGroup) -> torch.Tensor:
    by_channel = [layer.weight for layer in group.writers]
    by_channel += [layer.weight.transpose(0, 1) for layer in group.readers]
    score = torch.stack([_relative_norms(weight) for weight in by_channel]).sum(0)
    return score.argsort(stable=True)


def _relative_norms(weight: torch.Tensor) -> torch.Tensor:
    """The norm of each row in parts of their root mean square."""
    norms: torch.Tensor = torch.linalg.vector_norm(weight.double().flatten(1), dim=1)
    mean = norms.square().mean().sqrt()
    return norms / mean if mean > 0 else norms


def _ignore(module: fx.GraphModule, node: fx.Node, gone: torch.Tensor, means: torch.Tensor) -> None:
    # It may have new parameters since, for another group.
    layer = layer_of(module, node)
    assert layer is not None
    weight = layer.weight.clone()
    weight[:, gone] = 0
    with module.graph.inserting_before(node):
        # New tensors: the old ones may belong to other layers too.
        name = str(layer.view.weight.target)
        view = replace(
            layer.view,
            weight=add_constant(module, f"{name}_zeroed", weight),
            bias=add_constant(module, f"{name}_bias_zeroed", _bias_with(layer, gone, means)),
        )
    node.args = view.arguments


def _bias_with(layer: Layer, gone: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """The bias with what the channels `gone` add to it, each at its mean."""
    read = layer.weight[:, gone].double()
    bias = (read.flatten(2).sum(2) if read.dim() > 2 else read) @ means
    if layer.bias is not None:
        bias = bias + layer.bias
    return bias.to(layer.weight.dtype)
