"""Pruning by magnitude: where it stands among the passes, what it removes, and what is then the reference.

    traced  --passes-->  original  --zero-channels-->  reference  --prune-channels, passes-->  compiled

`original` is held against the model, `reference` differs from it by the zeroed weights alone, and all that follows is
held against `reference`.
"""

import math
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
from torch.utils._pytree import tree_leaves

from lwc.errors import UsageError
from lwc.graph import shape_of
from lwc.models.request import LoadedModel
from lwc.package.pruning import LayerCounts, Pruning
from lwc.package.reference import run_reference, sample_count, variations
from lwc.package.verify import check_output, require_agreement
from lwc.passes.channel_groups import channel_groups
from lwc.passes.zero_channels import ZeroChannels
from lwc.pipeline import Pipeline, Step
from lwc.trace import Program

_REMOVE = "prune-channels"


@dataclass(frozen=True)
class Pruned:
    """The program before channels were zeroed and after, and what was then removed."""

    original: Program
    reference: Program
    pruning: Pruning


def with_pruning(pipeline: Pipeline, fraction: float) -> Pipeline:
    """`pipeline` with zero-channels before prune-channels. Raises UsageError where it lacks that, or prunes already."""
    names = [item.name for item in pipeline.passes]
    if _REMOVE not in names:
        raise UsageError(f"--prune: needs the pass {_REMOVE!r}; add it to --passes, or leave --prune out")
    if ZeroChannels.name in names:
        raise UsageError(f"--prune: the passes have {ZeroChannels.name!r} already; give one of the two")
    return pipeline.insert_before(_REMOVE, ZeroChannels(fraction))


class PruningRecorder:
    """A hook that keeps what zero-channels found and made, and counts what prune-channels leaves."""

    def __init__(self) -> None:
        self.pruned: Pruned | None = None

    def __call__(self, step: Step) -> None:
        """Raises UsageError where channels are zeroed twice: the first reference would be lost."""
        if isinstance(step.item, ZeroChannels):
            if self.pruned is not None:
                raise UsageError(f"pass {step.item.name!r}: stands twice in the passes; give it once")
            counts = layer_counts(step.after)
            pruning = Pruning(fraction=step.item.fraction, before=counts, after=counts)
            self.pruned = Pruned(_copy(step.before), _copy(step.after), pruning)
        elif step.item.name == _REMOVE and self.pruned is not None:
            counts = layer_counts(step.after)
            pruning = self.pruned.pruning.model_copy(update={"after": counts})
            self.pruned = Pruned(self.pruned.original, self.pruned.reference, pruning)


def _copy(program: Program) -> Program:
    """The program with parameters of its own, too, where no later pass can change them."""
    return replace(program, module=deepcopy(program.module))


def layer_counts(program: Program) -> LayerCounts:
    """The size of the program's convolutions and linear layers as zero-channels sees them: in NCHW."""
    groups = channel_groups(program)
    layers = [layer for group in groups for layer in group.writers]
    return LayerCounts(
        channels=sum(shape_of(group.members[0])[group.axis] for group in groups),
        parameters=sum(
            layer.weight.numel() + (0 if layer.bias is None else layer.bias.numel()) for layer in layers
        ),
        macs=sum(math.prod(shape_of(layer.node)) * layer.weight[0].numel() for layer in layers),
    )


def verify_original(model: LoadedModel, pruned: Pruned) -> None:
    """Hold the program before pruning against the model itself: the reference no longer shows where they differ.

    Raises VerificationError where they do, and what `run_reference` and `check_output` raise.
    """
    (output,) = pruned.original.module.graph.find_nodes(op="output")
    smallest = min(math.prod(shape_of(node)) for node in tree_leaves(output.args))
    stored = tuple(np.ascontiguousarray(tensor.numpy()) for tensor in model.inputs)
    samples = variations(stored, sample_count(smallest))
    want, got = (run_reference(module, samples) for module in (model.module, pruned.original.module))
    checks = tuple(map(check_output, model.output_names, got.float32, want.float64, want.float32))
    require_agreement(checks, f"{model.name} before pruning")
