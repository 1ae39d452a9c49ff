"""What reads a tensor past reshapes and transposes: the heads of attention, or anything else.

softmax(q k^T * scale + bias) v    reads q, k and v
"""

from collections.abc import Iterator

from torch import fx

from lwc.graph import RESHAPES, aten, through_reshapes

_VIEWS = (*RESHAPES, aten.permute.default, aten.transpose.int)
_PRODUCTS = (aten.matmul.default, aten.bmm.default)
# What may stand between the scores and their softmax: scale, bias and mask.
_ON_SCORES = (*_VIEWS, aten.mul.Tensor, aten.div.Tensor, aten.add.Tensor)
_SOFTMAX = aten.softmax.int


def gives_heads(layer: fx.Node) -> bool:
    """Whether nothing but attention reads the layer's result: as queries, keys or values."""
    uses = list(_uses(layer))
    return bool(uses) and all(_is_attention(operand, user) for operand, user in uses)


def _uses(node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
    """What reads `node` past reshapes and transposes, and the operand that it reads."""
    for user in node.users:
        if user.target in _VIEWS:
            yield from _uses(user)
        else:
            yield node, user


def _is_attention(operand: fx.Node, product: fx.Node) -> bool:
    """Whether `product` multiplies queries and keys, or probabilities and the values `operand`."""
    if product.target not in _PRODUCTS:
        return False
    left = product.args[0]
    values = left is not operand and through_reshapes(left).target is _SOFTMAX
    return values or any(_reaches_softmax(user) for user in product.users)


def _reaches_softmax(node: fx.Node) -> bool:
    if node.target in _ON_SCORES:
        return any(_reaches_softmax(user) for user in node.users)
    return node.target is _SOFTMAX
