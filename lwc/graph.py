"""Small questions and edits on an FX graph that several passes share."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

# What keeps every element and its order.
RESHAPES = (aten.view.default, aten._unsafe_view.default, aten.reshape.default)

# What only moves elements: rounding them before or after gives the same.
MOVES = (*RESHAPES, aten.permute.default, aten.slice.Tensor, aten.cat.default)

# Each element of the result comes from the elements at its own place.
ELEMENTWISE = (
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.mul.Tensor,
    aten.relu.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.clamp.default,
    aten.clamp_min.default,
    aten.clamp_max.default,
    aten.silu.default,
    aten.sigmoid.default,
    aten.hardswish.default,
    aten.hardsigmoid.default,
    aten.gelu.default,
    aten.tanh.default,
)


def calls(graph: fx.Graph, *targets: Any) -> Iterator[fx.Node]:
    """The nodes that call one of `targets`, in order; the graph may change meanwhile."""
    yield from [node for node in graph.nodes if node.op == "call_function" and node.target in targets]


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of the tensor that `node` gives."""
    return tuple(int(extent) for extent in node.meta["val"].shape)


def constant(module: fx.GraphModule, node: Any) -> torch.Tensor | None:
    """The tensor behind a `get_attr` node; None for anything else."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    owner: Any = module
    for part in str(node.target).split("."):
        owner = getattr(owner, part)
    return owner.detach() if isinstance(owner, torch.Tensor) else None


def is_weight(module: fx.GraphModule, node: Any) -> bool:
    """Whether `node` is a constant, or integers with their scales, which a layer may read as its weight."""
    rounded = isinstance(node, fx.Node) and node.target is torch.ops.lwc.dequantize_weight.default
    return rounded or constant(module, node) is not None


def add_constant(module: fx.GraphModule, name: str, value: torch.Tensor) -> fx.Node:
    """A new buffer of `module`, and the node that reads it, at the graph's insertion point."""
    stem = "".join(c if c.isalnum() else "_" for c in name)
    unique, number = stem, 0
    while hasattr(module, unique):
        number += 1
        unique = f"{stem}_{number}"
    module.register_buffer(unique, value.detach().contiguous())
    node = module.graph.get_attr(unique)
    node.meta["val"] = value
    return node


def through_reshapes(node: Any) -> Any:
    """`node`, or the first node above it that is not a reshape."""
    while isinstance(node, fx.Node) and node.target in RESHAPES:
        node = node.args[0]
    return node


def has_other_users(producer: Any, node: Any) -> bool:
    """Whether anything but `node` reads `producer` or one of the reshapes between them."""
    while node is not producer:
        node = node.args[0]
        if len(node.users) != 1:
            return True
    return False


def readable(graph: fx.Graph) -> str:
    """The graph as text, a line a node: its name, shape, operator and operands."""
    return "".join(f"{_line(node)}\n" for node in graph.nodes)


def _line(node: fx.Node) -> str:
    value = node.meta.get("val")
    kind = ""
    if isinstance(value, torch.Tensor):
        kind = f": {str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if node.op == "call_function":
        operands = [*map(str, node.args), *(f"{key}={item}" for key, item in node.kwargs.items())]
        return f"{node.name}{kind} = {node.target}({', '.join(operands)})"
    if node.op == "output":
        return f"return {node.args[0]}"
    return f"{node.name}{kind} = {node.op} {node.target}"
