"""Transposes between NCHW and NHWC: how to write one, how to recognize one, what to put in its place."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx

from lwc.graph import aten, shape_of

TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)

# A change of the graph that is ready to be made.
Rewrite = Callable[[], None]


def permute(graph: fx.Graph, x: fx.Node, order: tuple[int, ...]) -> fx.Node:
    """A node that permutes x's axes, at the graph's insertion point."""
    node = graph.call_function(aten.permute.default, (x, list(order)))
    node.meta["val"] = x.meta["val"].permute(order)
    return node


def reshape(graph: fx.Graph, x: fx.Node, shape: Sequence[int]) -> fx.Node:
    """x in another shape, at the graph's insertion point; x itself where it has that already."""
    if shape_of(x) == tuple(shape):
        return x
    node = graph.call_function(aten.reshape.default, (x, list(shape)))
    node.meta["val"] = x.meta["val"].reshape(shape)
    return node


def is_permute(node: Any, order: tuple[int, ...]) -> bool:
    """Whether `node` permutes its operand's axes by `order`."""
    if not isinstance(node, fx.Node) or node.target is not aten.permute.default:
        return False
    axes: Any = node.args[1]
    return tuple(axis % len(axes) for axis in axes) == order


def nhwc_of(value: Any) -> Any:
    """x where `value` is to_nchw(x), else None."""
    return value.args[0] if is_permute(value, TO_NCHW) else None


def replace_by_call(
    graph: fx.Graph, node: fx.Node, target: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    """`node`'s users read a call of `target` that gives the same."""
    with graph.inserting_before(node):
        made = graph.call_function(target, arguments, keywords)
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made)


def replace_by_nhwc_call(
    graph: fx.Graph, node: fx.Node, target: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    """`node`'s users read to_nchw of a call of `target`."""
    with graph.inserting_before(node):
        made = graph.call_function(target, arguments, keywords)
        made.meta = {**node.meta, "val": node.meta["val"].permute(TO_NHWC)}
        image = permute(graph, made, TO_NCHW)
    node.replace_all_uses_with(image)
