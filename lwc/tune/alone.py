"""A layer by itself: one call of an operator with its constants, as plain data, and as a program of such calls."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

import lwc.ops  # noqa: F401  registers the operators
from lwc.graph import constant
from lwc.ops.quantize import DTYPES
from lwc.ops.view import named_arguments
from lwc.trace import Program


@dataclass(frozen=True)
class Operand:
    """A tensor that a call reads: a constant with its `value`, or what is computed before the call."""

    shape: tuple[int, ...]
    dtype: str
    value: NDArray[Any] | None = None


@dataclass(frozen=True)
class LayerCall:
    """A call of `torch.ops.lwc.<operator>`: its arguments by name, tensors as Operand; `result` is its type."""

    operator: str
    arguments: dict[str, Any]
    result: str


def call_of(module: fx.GraphModule, node: fx.Node) -> LayerCall | None:
    """The call that `node` is in `module`; None where it cannot stand alone, by its types or its operator."""
    if node.op != "call_function" or getattr(node.target, "namespace", "") != "lwc":
        return None
    arguments = {name: _plain(module, value) for name, value in named_arguments(node).items()}
    result = node.meta["val"]
    read = [value for value in arguments.values() if isinstance(value, Operand) and value.value is None]
    types = {*(value.dtype for value in read), _name(result)}
    if not types <= {"float32", *DTYPES}:
        return None
    return LayerCall(node.target._schema.name.removeprefix("lwc::"), arguments, _name(result))  # type: ignore[union-attr]


def _plain(module: fx.GraphModule, value: Any) -> Any:
    if not isinstance(value, fx.Node):
        return list(value) if isinstance(value, list | tuple) else value
    held = constant(module, value)
    described = value.meta["val"] if held is None else held
    array = None if held is None else held.numpy()
    return Operand(tuple(described.shape), _name(described), array)


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def inputs_of(call: LayerCall, rng: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Random float32 inputs of the call's program: normal ones, and whole numbers for what it reads as bytes."""
    return tuple(_random(operand, rng) for operand in _read(call).values())


def _read(call: LayerCall) -> dict[str, Operand]:
    return {n: v for n, v in call.arguments.items() if isinstance(v, Operand) and v.value is None}


def _random(operand: Operand, rng: torch.Generator) -> torch.Tensor:
    if operand.dtype not in DTYPES:
        return torch.randn(operand.shape, generator=rng)
    limits = torch.iinfo(DTYPES[operand.dtype])
    return torch.randint(limits.min, limits.max + 1, operand.shape, generator=rng).float()


def copies(call: LayerCall, count: int, inputs: tuple[torch.Tensor, ...]) -> Program:
    """A program that calls the operator `count` times on the same inputs, an output each.

    A copy's layer is called by its number. Each copy has its constants turned by another number of places, so that
    copies do not share memory: in a network a layer does not find its weights in cache either.
    """
    root, graph = torch.nn.Module(), fx.Graph()
    names = list(_read(call))
    values = {name: graph.placeholder(name) for name in names}
    root.register_buffer("one", torch.tensor(1.0))
    for name, tensor in zip(names, inputs, strict=True):
        values[name].meta["val"] = tensor
        if call.arguments[name].dtype in DTYPES:
            values[name] = _called(graph, "quantize", values[name], 1.0, 0, call.arguments[name].dtype)
    results = [_copy(root, graph, call, values, index) for index in range(count)]
    graph.output(tuple(results))
    return Program(fx.GraphModule(root, graph), inputs, tuple(names))


def _copy(
    root: torch.nn.Module, graph: fx.Graph, call: LayerCall, values: dict[str, fx.Node], index: int
) -> fx.Node:
    given = []
    for name, value in call.arguments.items():
        if not isinstance(value, Operand):
            given.append(value)
        elif value.value is None:
            given.append(values[name])
        else:
            own = f"{name}_{index}"
            root.register_buffer(own, _turned(value.value, index))
            given.append(graph.get_attr(own))
    node = _called(graph, call.operator, *given)
    # As torch.export notes the module that a node is from.
    node.meta["nn_module_stack"] = {"": (str(index), torch.nn.Module)}
    if call.result not in DTYPES:
        return node
    return _called(graph, "dequantize", node, graph.get_attr("one"), 0)


def _called(graph: fx.Graph, operator: str, *arguments: Any) -> fx.Node:
    return graph.call_function(getattr(torch.ops.lwc, operator).default, arguments)


def _turned(value: NDArray[Any], places: int) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(value))
    return torch.roll(tensor, places, 0) if tensor.ndim else tensor.clone()
