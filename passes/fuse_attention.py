"""Softmax attention becomes one operator, which reads its heads where they lie.

Given:   q, k, v = heads of token matrices x, y, z     views: (B, N, C) seen as (B, heads, N, d)
         o = softmax(s * (q k^T) + b) v                b constant over the batch, or none
Result:  o = heads of attention(x, y, z, b, where q, k and v lie, scale=s)

Each factor of q, of k and of their product is in s. `scaled_dot_product_attention` is the same in one node.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import aten, constant, shape_of
from lwc.ops import AttentionView
from lwc.ops.view import named_arguments
from lwc.passes.attention_heads import HeadSlices, find_heads
from lwc.passes.attention_pattern import Attention, attention_at
from lwc.passes.layout import is_permute, permute, reshape
from lwc.pipeline import Pass
from lwc.trace import Program

_SWAPPED = (0, 2, 1, 3)


@dataclass(frozen=True)
class FuseAttention(Pass[Attention]):
    """Scale, product with keys, bias, softmax and product with values become one operator without transposes."""

    name: ClassVar[str] = "fuse-attention"
    requires: ClassVar[tuple[str, ...]] = ("raise-operators",)
    introduces: ClassVar[tuple[str, ...]] = ("lwc.attention.default",)

    def match(self, program: Program, node: fx.Node) -> Attention | None:
        """The last operator of an attention."""
        return attention_at(program.module, node)

    def refuse(self, program: Program, match: Attention) -> str | None:
        """Nothing else may read what is no longer computed, and the operator has to give the same."""
        refusal = _refuse_operators(match) or _refuse_shapes(match) or _refuse_heads(match)
        return refusal or _refuse_mask(program.module, match)

    def rewrite(self, program: Program, match: Attention) -> None:
        """See the module's docstring."""
        graph, node = program.module.graph, match.node
        slices = [part for part in _slices(match) if part is not None]
        batch, heads, queries, size = shape_of(node)
        with graph.inserting_before(node):
            # One reshape for what lies in the same tokens.
            tokens = {(part.source, part.shape): reshape(graph, part.source, part.shape) for part in slices}
            query, key, value = (tokens[part.source, part.shape] for part in slices)
            query_heads, key_heads, value_heads = (part.where for part in slices)
            bias = _expand(graph, match.bias, (heads, queries, shape_of(match.value)[2]))
            view: Any = AttentionView(
                query, key, value, bias, heads, query_heads, key_heads, value_heads, match.scale
            )
            fused = graph.call_function(torch.ops.lwc.attention.default, view.arguments)
            fused.meta = {**node.meta, "val": node.meta["val"].transpose(1, 2).flatten(2)}
            by_token = reshape(graph, fused, (batch, queries, heads, size))
            by_head = permute(graph, by_token, _SWAPPED)
        for user in list(node.users):
            if _swaps_heads_and_tokens(user):
                user.replace_all_uses_with(by_token)
                graph.erase_node(user)
        node.replace_all_uses_with(by_head)
        graph.erase_node(node)


def _slices(match: Attention) -> tuple[HeadSlices | None, ...]:
    """Where the heads of queries, keys and values lie."""
    return find_heads(match.query), find_heads(match.key, match.key_channels), find_heads(match.value)


def _expand(graph: fx.Graph, bias: fx.Node | None, shape: tuple[int, int, int]) -> fx.Node | None:
    """The bias as (heads, queries, keys)."""
    if bias is None:
        return None
    bias = reshape(graph, bias, shape_of(bias)[-3:])
    return bias if shape_of(bias) == shape else graph.call_function(aten.expand.default, (bias, list(shape)))


def _swaps_heads_and_tokens(node: fx.Node) -> bool:
    if node.target is aten.transpose.int:
        return {axis % 4 for axis in node.args[1:]} == {1, 2}  # type: ignore[operator]
    return is_permute(node, _SWAPPED)


def _refuse_operators(match: Attention) -> str | None:
    if any(len(node.users) > 1 for node in match.inner):
        return "another operator reads its scores or its probabilities"
    read = (match.query, match.key, match.value, match.bias, *match.inner, match.node)
    dtypes = {node.meta["val"].dtype for node in read if node is not None}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        return f"what it reads and gives is in {' and '.join(sorted(map(str, dtypes)))}"
    options = named_arguments(match.node)
    if options.get("dropout_p"):
        return "it drops out at random"
    if options.get("is_causal"):
        return "its mask is causal"
    return None


def _refuse_shapes(match: Attention) -> str | None:
    read = (match.query, match.key, match.value, match.node)
    if {len(shape_of(node)) for node in read} != {4}:
        return "what it reads is not of batch, heads, tokens and channels"
    query, value, result = map(shape_of, (match.query, match.value, match.node))
    key = tuple(match.key.meta["val"].transpose(match.key_channels, -1).shape)
    if match.inner and named_arguments(match.inner[-1])["dim"] not in (-1, 3):
        return "its softmax is not over the keys"
    if (query[:2], query[:3], key[:3]) != (key[:2], result[:3], value[:3]):
        return "its queries, keys and values differ in batch, heads or tokens"
    if match.bias is not None and shape_of(match.bias)[:-3] not in ((), (1,)):
        return "its bias differs between the images of a batch"
    return None


def _refuse_heads(match: Attention) -> str | None:
    for name, part in zip(("queries", "keys", "values"), _slices(match), strict=True):
        if part is None:
            return f"its {name} are not regular slices of a token matrix"
    return None


def _refuse_mask(module: fx.GraphModule, match: Attention) -> str | None:
    """PyTorch's one operator gives zeros for a query that sees no key; a softmax of minus infinities is NaN."""
    if match.inner or match.bias is None:
        return None
    mask = constant(module, match.bias)
    visible = mask is not None and bool(mask.isfinite().any(-1).all())
    return None if visible else "its mask may hide every key of a query"
