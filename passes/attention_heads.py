"""Which channels of which token matrix are the heads of a tensor.

Given:   q = transpose(view(x, (B, N, heads, d))[..., i:j])     any chain of views
Result:  q[b, h, n, :] = x[b, n, offset + h * stride :][:size]

The chain is run on a tensor without memory, of x's shape: PyTorch's own strides tell what the views do.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from lwc.graph import RESHAPES, aten, shape_of
from lwc.ops import Heads

# What gives some of its operand's elements, and does not compute.
_VIEWS = (
    *RESHAPES,
    aten.permute.default,
    aten.transpose.int,
    aten.select.int,
    aten.slice.Tensor,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.unbind.int,
    operator.getitem,
    aten.squeeze.dim,
    aten.unsqueeze.default,
)


@dataclass(frozen=True)
class HeadSlices:
    """Heads that lie `where` in the tokens of `source`, which is seen as `shape` (batch, tokens, channels)."""

    source: fx.Node
    shape: tuple[int, int, int]
    where: Heads


def find_heads(node: fx.Node, channels: int = -1) -> HeadSlices | None:
    """Where the heads of `node` (batch, heads, tokens, channels) lie, as far up as they do; None for nowhere.

    `channels` is the axis of the channels: -1, or -2 where tokens and channels are swapped.
    """
    found: HeadSlices | None = None
    chain: list[fx.Node] = []
    source = node
    while True:
        value = _run(chain, source)
        if value is not None:
            found = _slices(source, value if channels == -1 else value.transpose(-1, -2)) or found
        if source.target not in _VIEWS:
            return found
        chain.insert(0, source)
        source = source.args[0]  # type: ignore[assignment]


def _run(chain: list[fx.Node], source: fx.Node) -> torch.Tensor | None:
    """What the chain makes of `source`, without memory; None where the source or the result is no view."""
    if not isinstance(source.meta["val"], torch.Tensor):
        return None
    value: Any = torch.empty(shape_of(source), device="meta")
    for node in chain:
        target: Any = aten.view.default if node.target in RESHAPES else node.target
        try:
            value = target(value, *node.args[1:], **node.kwargs)
        except (RuntimeError, ValueError):
            # A reshape that copies.
            return None
    assert isinstance(value, torch.Tensor)
    return value


def _slices(source: fx.Node, value: torch.Tensor) -> HeadSlices | None:
    batch, heads, tokens, size = value.shape
    elements = shape_of(source)
    channels, left = divmod(torch.Size(elements).numel(), batch * tokens)
    offset, stride = value.storage_offset(), value.stride(1) if heads > 1 else size
    wanted = (tokens * channels, stride, channels, 1)
    regular = all(
        extent == 1 or step == want
        for extent, step, want in zip(value.shape, value.stride(), wanted, strict=True)
    )
    if left or not regular or stride < 1 or offset + (heads - 1) * stride + size > channels:
        return None
    return HeadSlices(source, (batch, tokens, channels), Heads(int(offset), stride, size))
