"""Attention as models write it: products, a scale, a bias and a softmax, or PyTorch's one operator.

o = softmax((s1 q) (s2 k)^T * s3 + b) v    or    o = scaled_dot_product_attention(s1 q, s2 k, v, b)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from lwc.graph import aten, shape_of
from lwc.ops.view import named_arguments
from lwc.passes.layout import is_permute
from lwc.passes.recognize_clamps import constant_last, number

_PRODUCTS = (aten.matmul.default, aten.bmm.default)
_SOFTMAXES = (aten.softmax.int, aten._softmax.default)


@dataclass(frozen=True)
class Attention:
    """softmax(scale * query key^T + bias) value, which `node` gives.

    key_channels: the axis of the keys' channels, -2 where they are transposed already.
    inner: the operators from scores to probabilities, the softmax last; none where `node` is all of it.
    """

    node: fx.Node
    query: fx.Node
    key: fx.Node
    value: fx.Node
    bias: fx.Node | None
    scale: float
    key_channels: int = -1
    inner: tuple[fx.Node, ...] = ()


def attention_at(module: fx.GraphModule, node: fx.Node) -> Attention | None:
    """The attention whose last operator is `node`."""
    if node.target is aten.scaled_dot_product_attention.default:
        return _one_operator(module, node)
    softmax: Any = node.args[0] if node.target in _PRODUCTS else None
    if not isinstance(softmax, fx.Node) or softmax.target not in _SOFTMAXES:
        return None
    total: Any = softmax.args[0]
    for scores, bias in _summands(total):
        scale, between = _factors(module, scores)
        product = between[0]
        if not isinstance(product, fx.Node) or product.target not in _PRODUCTS:
            continue
        operands: Any = (*product.args, node.args[1])
        query, key, value = operands
        inner = tuple(dict.fromkeys((*between, total, softmax)))
        return _unscaled(module, Attention(node, query, key, value, bias, scale, -2, inner))
    return None


def _one_operator(module: fx.GraphModule, node: fx.Node) -> Attention:
    values = named_arguments(node)
    query = values["query"]
    scale = shape_of(query)[-1] ** -0.5 if values["scale"] is None else values["scale"]
    return _unscaled(
        module, Attention(node, query, values["key"], values["value"], values["attn_mask"], scale)
    )


def _unscaled(module: fx.GraphModule, found: Attention) -> Attention:
    """The same with the factors of its queries and keys in its scale, also of keys before they were transposed."""
    of_query, (query, *_) = _factors(module, found.query)
    of_key, (key, *_) = _factors(module, found.key)
    channels = found.key_channels
    if _swaps_channels(key):
        before, (key, *_) = _factors(module, key.args[0])
        of_key, channels = of_key * before, -3 - channels
    return replace(found, query=query, key=key, key_channels=channels, scale=found.scale * of_query * of_key)


def _swaps_channels(node: fx.Node) -> bool:
    """Whether the node swaps its operand's last two axes."""
    rank = len(shape_of(node))
    axes: Any = node.args[1:]
    if node.target is aten.transpose.int:
        return {axis % rank for axis in axes} == {rank - 2, rank - 1}
    order = (*range(rank - 2), rank - 1, rank - 2)
    return rank > 1 and is_permute(node, order)


def _summands(node: fx.Node) -> Iterator[tuple[Any, Any]]:
    """`node` with no bias, or its two summands in both orders."""
    yield node, None
    if node.target is aten.add.Tensor and len(node.all_input_nodes) == 2 and not node.kwargs:
        one, other = node.args
        yield one, other
        yield other, one


def _factors(module: fx.GraphModule, node: Any) -> tuple[float, list[Any]]:
    """The product of the numbers that scale `node`, and the nodes from what they scale down to `node`."""
    scale, nodes = 1.0, [node]
    while isinstance(node, fx.Node) and node.target in (aten.mul.Tensor, aten.div.Tensor):
        divides = node.target is aten.div.Tensor
        operand, factor = node.args if divides else constant_last(module, *node.args)
        value = number(module, factor)
        # A factor of more elements than what it scales would repeat it.
        if not value or not math.isfinite(value) or not _same_shape(operand, node):
            break
        node = operand
        scale = scale / value if divides else scale * value
        nodes.insert(0, node)
    return scale, nodes


def _same_shape(operand: Any, node: fx.Node) -> bool:
    return shape_of(operand) == shape_of(node)
