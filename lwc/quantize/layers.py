"""The layers of a quantized program, by their names, and putting some of them back to float32."""

from collections import Counter
from collections.abc import Collection
from typing import Any

import torch
from torch import fx

import lwc.ops  # noqa: F401  registers the operators
from lwc.graph import add_constant, aten, constant
from lwc.lower.layer import layer_name
from lwc.pipeline.run import refresh, snapshot
from lwc.pipeline.shapes import Shapes
from lwc.trace import Program

_LAYERS = (torch.ops.lwc.conv2d.default, torch.ops.lwc.linear.default, aten.mean.dim)
_DEQUANTIZE = torch.ops.lwc.dequantize.default


def rounded_layers(quantized: Program) -> dict[str, fx.Node]:
    """The layers of `quantized` that read rounded numbers, in order, by their names in the model.

    Where several are of one module of the model, or of none that is known, the node's name tells them apart.
    """
    nodes = [node for node in quantized.module.graph.nodes if _is_rounded(node)]
    paths = [layer_name(node) for node in nodes]
    times = Counter(paths)
    return {_name(path, times[path], node): node for path, node in zip(paths, nodes, strict=True)}


def _is_rounded(node: fx.Node) -> bool:
    return node.target in _LAYERS and any(source.target is _DEQUANTIZE for source in node.all_input_nodes)


def _name(path: str, times: int, node: fx.Node) -> str:
    if not path:
        return node.name
    return path if times == 1 else f"{path} ({node.name})"


def restore_float(
    quantized: Program, original: Program, layers: Collection[str], integer_io: bool = False
) -> Program:
    """`quantized`, which was made from `original`, with `layers` in float32 again: inputs, weights and biases.

    What other layers read stays as it is, so that ranges need not be measured again. With `integer_io` the program's
    own inputs stay integers: there are no others.
    """
    restored = snapshot(quantized)
    before = {node.name: node for node in original.module.graph.nodes}
    for name, node in rounded_layers(restored).items():
        if name in layers:
            _restore(restored.module, node, original.module, before[node.name], integer_io)
    refresh(restored, Shapes())
    return restored


def _restore(
    module: fx.GraphModule, node: fx.Node, original: fx.GraphModule, before: fx.Node, integer_io: bool
) -> None:
    node.args = tuple(
        own if integer_io and _is_input(old) else _operand(module, node, own, original, old)
        for own, old in zip(node.args, before.args, strict=True)
    )


def _is_input(operand: Any) -> bool:
    return isinstance(operand, fx.Node) and operand.op == "placeholder"


def _operand(module: fx.GraphModule, node: fx.Node, own: Any, original: fx.GraphModule, old: Any) -> Any:
    """The operand `own` of `node` as it was before rounding; `old` is that of `original`."""
    value = constant(original, old)
    if value is not None:
        with module.graph.inserting_before(node):
            return add_constant(module, str(old.target), value)
    if isinstance(own, fx.Node) and own.target is _DEQUANTIZE:
        return own.all_input_nodes[0].args[0]
    return old if old is None else own
