"""Which attention becomes integers: the numbers that it reads, with a scale for each head.

Queries and keys have a scale for each head, so that one number makes scores of a head's sums; values have one for each
channel, which the result's multiplier takes in.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import fx
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from lwc.ops import AttentionView, LinearView
from lwc.ops.attention import Heads
from lwc.ops.quantize_channels import STEPS
from lwc.ops.quantized_attention import MOST_KEYS
from lwc.quantize.observers import SharedChannelObserver

_ATTENTION, _LINEAR = torch.ops.lwc.attention.default, torch.ops.lwc.linear.default


def attention_specs(node: fx.Node, layers: set[fx.Node]) -> dict[fx.Node, QuantizationSpec]:
    """How what `node` reads becomes integers; nothing where `node` is no attention, or stays in float32.

    It has to read what plain linear layers of `layers` write for it alone: they can write integers of many scales.
    """
    if node.target is not _ATTENTION:
        return {}
    view = AttentionView.of(node)
    if view.key.meta["val"].shape[1] > MOST_KEYS:
        return {}
    groups: defaultdict[fx.Node, list[range]] = defaultdict(list)
    for source, where in ((view.query, view.query_heads), (view.key, view.key_heads)):
        groups[source] += _heads(where, view.heads)
    # A source of values alone has no groups.
    groups[view.value] += []
    if not all(_is_plain(source, node, layers) for source in groups):
        return {}
    return {source: _spec(shared) for source, shared in groups.items()}


def _heads(where: Heads, count: int) -> list[range]:
    """The channels of each head."""
    starts = range(where.offset, where.offset + count * where.stride, where.stride)
    return [range(start, start + where.size) for start in starts]


def _is_plain(source: fx.Node, reader: fx.Node, layers: set[fx.Node]) -> bool:
    if source.target is not _LINEAR or source not in layers or set(source.users) != {reader}:
        return False
    return LinearView.of(source).is_plain


def _spec(groups: Sequence[Sequence[int]]) -> QuantizationSpec:
    observer = SharedChannelObserver.with_args(groups=groups, ch_axis=2, eps=2.0**-30)
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=observer,
        quant_min=-STEPS,
        quant_max=STEPS,
        qscheme=torch.per_channel_symmetric,
        ch_axis=2,
    )
