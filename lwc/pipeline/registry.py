"""The passes that have a name: lwc's own in their order, and those of installed packages."""

import dataclasses
import difflib
import math
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any

from lwc.errors import STOPS, UsageError
from lwc.files import one_line, shortened
from lwc.installed import load_offer, offers
from lwc.pipeline.plugin import checked_pass, plugin_error
from lwc.pipeline.rewrite import Pass

# name -> "module:class", imported when asked for.
PASSES = {
    "remove-identities": "lwc.passes.remove_identities:RemoveIdentities",
    "fold-constants": "lwc.passes.fold_constants:FoldConstants",
    "merge-common-subexpressions": "lwc.passes.merge_common_subexpressions:MergeCommonSubexpressions",
    "raise-operators": "lwc.passes.raise_operators:RaiseOperators",
    "fold-padding": "lwc.passes.fold_padding:FoldPadding",
    "fold-batch-norm": "lwc.passes.fold_batch_norm:FoldBatchNorm",
    "fold-batch-norm-forward": "lwc.passes.fold_batch_norm_forward:FoldBatchNormForward",
    "decompose-batch-norm": "lwc.passes.decompose_batch_norm:DecomposeBatchNorm",
    "recognize-clamps": "lwc.passes.recognize_clamps:RecognizeClamps",
    "recognize-activations": "lwc.passes.recognize_activations:RecognizeActivations",
    "merge-heads": "lwc.passes.merge_heads:MergeHeads",
    "fuse-activation": "lwc.passes.fuse_activation:FuseActivation",
    "zero-channels": "lwc.passes.zero_channels:ZeroChannels",
    "prune-channels": "lwc.passes.prune_channels:PruneChannels",
    "merge-parallel-linear": "lwc.passes.merge_parallel_linear:MergeParallelLinear",
    "fuse-residual-add": "lwc.passes.fuse_residual_add:FuseResidualAdd",
    "fuse-attention": "lwc.passes.fuse_attention:FuseAttention",
    "fold-attention-scale": "lwc.passes.fold_attention_scale:FoldAttentionScale",
    "convert-layout": "lwc.passes.convert_layout:ConvertLayout",
    "sink-transposes": "lwc.passes.sink_transposes:SinkTransposes",
    "merge-transposes": "lwc.passes.merge_transposes:MergeTransposes",
    "select-depthwise-kernel": "lwc.passes.select_depthwise_kernel:SelectDepthwiseKernel",
    "equalize-channels": "lwc.passes.equalize_channels:EqualizeChannels",
    "sink-dequantize": "lwc.passes.sink_dequantize:SinkDequantize",
    "hoist-quantize": "lwc.passes.hoist_quantize:HoistQuantize",
    "cancel-requantize": "lwc.passes.cancel_requantize:CancelRequantize",
    "lower-int8": "lwc.passes.lower_int8:LowerInt8",
    "lower-int8-attention": "lwc.passes.lower_int8_attention:LowerInt8Attention",
    "lower-int8-elementwise": "lwc.passes.lower_int8_elementwise:LowerInt8Elementwise",
    "dequantize-weights": "lwc.passes.dequantize_weights:DequantizeWeights",
}

# The order in which they run by default.
DEFAULT = (
    # First, so that no later pattern has to look through dropout and no-op copies.
    "remove-identities",
    "fold-constants",
    # Patterns compare nodes, not what the nodes compute.
    "merge-common-subexpressions",
    # ATen's convolution has no asymmetric padding, no layout and no activation: the next ones need lwc's.
    "raise-operators",
    "fold-batch-norm",
    # What no layer before could take: backward is first, as it also folds into convolutions that pad.
    "fold-batch-norm-forward",
    # A batch norm between a padding and a convolution is gone.
    "fold-padding",
    # What could not be folded becomes a multiplication and an addition.
    "decompose-batch-norm",
    # The reshapes around a batch norm that is gone: they would hide which axis has the channels.
    "remove-identities",
    # Bounds are known, and the last patterns read one kind of clamp.
    "recognize-clamps",
    "recognize-activations",
    # After the batch norms, which stand before the heads, and after hardsigmoid is known, whose x + 3 would join the
    # layer; before the activation joins a layer, which then no longer merges.
    "merge-heads",
    # After the batch norm, which stands between a convolution and its activation.
    "fuse-activation",
    # With the batch norms and the activations in the layers, what a dead channel holds is known.
    "prune-channels",
    # With the epilogues in the layers, they are compared; earlier its slices would hide a layer from the passes above.
    # Before merge-transposes, which may write heads as something else.
    "merge-parallel-linear",
    # The projections are final: the operator hides them from the passes above. Before merge-transposes, too.
    "fuse-attention",
    "fold-attention-scale",
    # Late: the patterns above are written for NCHW.
    "convert-layout",
    # The transposes around each convolution meet their inverses.
    "sink-transposes",
    # What is left of them meets the model's own, such as MobileViT's patches.
    "merge-transposes",
    # The reshapes that the passes on heads and transposes put beside the model's own.
    "remove-identities",
    # Constants that layouts turned, and biases of attention that were expanded.
    "fold-constants",
    # Late, as it moves layers: before, an addition is one more elementwise operator that transposes sink through.
    "fuse-residual-add",
    # What follows an attention or an addition.
    "fuse-activation",
    # Last: what it writes says how to compute, and no pattern above has to know it.
    "select-depthwise-kernel",
)

# The order in which they run on a quantized program.
INTEGER = (
    "sink-dequantize",
    "hoist-quantize",
    # An output that only moves an input's elements.
    "cancel-requantize",
    # Of a tensor that several layers read.
    "merge-common-subexpressions",
    "lower-int8",
    "lower-int8-attention",
    # What no layer took.
    "lower-int8-elementwise",
    "dequantize-weights",
)

# Installed packages offer passes in this group of entry points: `name = "module:Class"`.
GROUP = "lwc.passes"


def make_pass(name: str, options: dict[str, str] | None = None) -> Pass[Any]:
    """The pass called `name`.

    Raises UsageError for an unknown name or option or a malformed value, BadInputError for a plug-in that cannot be
    used.
    """
    return with_options(pass_class(name), options or {})


def with_options(kind: type[Pass[Any]], options: dict[str, str]) -> Pass[Any]:
    """A pass of class `kind` with options in text form. Raises UsageError for an unknown or malformed one."""
    defaults: dict[str, Any] = {f.name.replace("_", "-"): f.default for f in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for key, text in options.items():
        if key not in defaults:
            raise UsageError(
                f"pass {kind.name!r}: no option {shortened(key)}; it has {', '.join(defaults) or 'none'}"
            )
        type_ = type(defaults[key])
        try:
            values[key.replace("-", "_")] = _READERS.get(type_, type_)(text)
        except ValueError:
            given = one_line(f"{key}={text}", 80)
            raise UsageError(f"pass {kind.name!r}: option {given} is not {type_.__name__}") from None
    return _instance(kind, values)


def _instance(kind: type[Pass[Any]], values: dict[str, Any]) -> Pass[Any]:
    try:
        return kind(**values)
    except STOPS:
        raise
    except BaseException as error:
        # A pass says so where an option's value is out of range.
        if values and isinstance(error, ValueError | UsageError):
            raise UsageError(f"pass {kind.name!r}: {one_line(error)}") from None
        origin = f"pass {kind.name!r} ({kind.__module__}:{kind.__name__})"
        raise plugin_error(origin, "cannot be made", error) from error


def pass_class(name: str) -> type[Pass[Any]]:
    """The class of the pass called `name`, lwc's own or an installed one. Raises as `make_pass` does."""
    if name in PASSES:
        module, _, attribute = PASSES[name].partition(":")
        kind: type[Pass[Any]] = getattr(import_module(module), attribute)
        return kind
    installed = installed_passes()
    if name in installed:
        return load_installed(name, installed[name])
    known = [*PASSES, *installed]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
    raise UsageError(f"pass {shortened(name)}: unknown; {hint}")


def installed_passes() -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of installed packages by the pass's name, several where they clash.

    Raises BadInputError where they cannot be read.
    """
    return offers(GROUP)


def load_installed(name: str, points: tuple[EntryPoint, ...]) -> type[Pass[Any]]:
    """The class behind `points`, the entry points of that name. Raises BadInputError where it cannot be used."""
    origin, loaded = load_offer("pass", points, PASSES)
    return checked_pass(origin, loaded, name)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _number(text: str) -> float:
    number = float(text)
    # It would not equal itself, nor its pass the same one made again.
    if math.isnan(number):
        raise ValueError(text)
    return number


# How an option is read from text, where its type alone does not do it.
_READERS: dict[type, Callable[[str], Any]] = {bool: _boolean, float: _number}
