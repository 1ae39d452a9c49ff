"""A graph that PyTorch quantized (PT2E, after training or in it), with its nodes written as lwc's.

    given                                                             result
    quantize_per_tensor(x, s, z, lowest, highest)                     lwc::quantize, of clamp(x) in a narrower range
    dequantize_per_tensor(q, s, z)                                    lwc::dequantize
    dequantize_per_channel or _per_tensor of a layer's weight         lwc::dequantize_weight
    both of any other constant                                        the constant in float32

Real numbers stay the same: 8-bit ones of the other type are 128 apart.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import fx

from lwc.errors import UnsupportedError
from lwc.graph import MOVES, add_constant, aten, calls, constant
from lwc.ops.quantize import DTYPES
from lwc.ops.quantize_channels import STEPS
from lwc.ops.requantize import single
from lwc.ops.view import named_arguments
from lwc.pipeline.run import refresh
from lwc.pipeline.shapes import Shapes
from lwc.quantize.integer_weight import integer_weight
from lwc.trace import Program

NAMESPACE = "quantized_decomposed"
_OPERATORS = torch.ops.quantized_decomposed
_QUANTIZE = (_OPERATORS.quantize_per_tensor.default, _OPERATORS.quantize_per_tensor.tensor)
_DEQUANTIZE = (_OPERATORS.dequantize_per_tensor.default, _OPERATORS.dequantize_per_tensor.tensor)
_QUANTIZE_CHANNELS = (_OPERATORS.quantize_per_channel.default,)
_DEQUANTIZE_CHANNELS = (_OPERATORS.dequantize_per_channel.default,)
_DYNAMIC = (_OPERATORS.choose_qparams.tensor, _OPERATORS.choose_qparams_symmetric.tensor)
_RAISED = (
    torch.ops.lwc.quantize.default,
    torch.ops.lwc.dequantize.default,
    torch.ops.lwc.dequantize_weight.default,
)


def is_quantized(program: Program) -> bool:
    """Whether `program` has lwc's nodes between real numbers and 8-bit ones."""
    return any(calls(program.module.graph, *_RAISED))


def raise_quantized(program: Program) -> Program:
    """`program` with PyTorch's quantization as lwc's, for its target; `program` itself where it has none.

    Raises UnsupportedError for what 8-bit integers with a fixed scale for each tensor do not say.
    """
    if not any(map(_is_pytorch, program.module.graph.nodes)):
        return program
    result = replace(program, module=deepcopy(program.module))
    dtype = "uint8" if program.target is None else program.target.quantized_dtype
    raise_quantization(result.module, dtype)
    refresh(result, Shapes())
    return result


def raise_quantization(module: fx.GraphModule, dtype: str) -> None:
    """Write PyTorch's quantize and dequantize nodes as lwc's, activations as `dtype`.

    Raises UnsupportedError as `raise_quantized` does.
    """
    graph = module.graph
    _refuse_arithmetic(graph)
    for node in [node for node in graph.nodes if _is_pytorch(node)]:
        with graph.inserting_before(node):
            raised = _raised(module, node, dtype)
        node.replace_all_uses_with(raised)
        graph.erase_node(node)


def _is_pytorch(node: fx.Node) -> bool:
    return node.op == "call_function" and getattr(node.target, "namespace", "") == NAMESPACE


def _refuse_arithmetic(graph: fx.Graph) -> None:
    """Raises UnsupportedError where something besides PyTorch's operators makes or reads 8-bit numbers as such."""
    for node in graph.nodes:
        if node.op != "call_function" or _is_pytorch(node) or node.target in MOVES:
            continue
        values = [operand.meta.get("val") for operand in (node, *node.all_input_nodes)]
        if any(isinstance(value, torch.Tensor) and value.dtype in DTYPES.values() for value in values):
            raise _unsupported(node, "computes on 8-bit numbers themselves", "dequantize them before")


def _raised(module: fx.GraphModule, node: fx.Node, dtype: str) -> fx.Node:
    """The node that stands for `node`, at the graph's insertion point."""
    rule = next((rule for targets, rule in _RULES if node.target in targets), None)
    if node.target in _DYNAMIC:
        raise _unsupported(
            node, "finds its range in each run (dynamic quantization)", "calibrate static ranges"
        )
    if rule is None:
        raise _unsupported(node, "is no quantization by tensor or by channel", "quantize so")
    values = named_arguments(node)
    kind, kinds = values["dtype"], tuple(DTYPES.values())
    of_constants = all(constant(module, operand) is not None for operand in node.all_input_nodes)
    if of_constants:
        return _constant(module, node)
    if kind not in kinds:
        raise _unsupported(node, f"is of {str(kind).removeprefix('torch.')}", "quantize to int8 or uint8")
    if values.get("out_dtype") not in (None, torch.float32):
        raise _unsupported(node, f"gives {values['out_dtype']}", "dequantize to float32")
    return rule(module, node, dtype)


def _quantize(module: fx.GraphModule, node: fx.Node, dtype: str) -> fx.Node:
    values, graph = named_arguments(node), module.graph
    scale, zero_point = _scale_and_zero_point(module, node, values)
    limits, lowest, highest = torch.iinfo(values["dtype"]), values["quant_min"], values["quant_max"]
    if not limits.min <= lowest <= zero_point <= highest <= limits.max:
        raise _unsupported(node, f"has zero point {zero_point} in {lowest} to {highest}", "keep it within")
    x = values["input"]
    bounds = [None if lowest == limits.min else (lowest - zero_point) * scale]
    bounds += [None if highest == limits.max else (highest - zero_point) * scale]
    if bounds != [None, None]:
        x = graph.call_function(aten.clamp.default, (x, *bounds))
    zero_point += torch.iinfo(DTYPES[dtype]).min - limits.min
    arguments = (x, single(1 / scale), zero_point, dtype)
    return graph.call_function(torch.ops.lwc.quantize.default, arguments)


def _dequantize(module: fx.GraphModule, node: fx.Node, dtype: str) -> fx.Node:
    values = named_arguments(node)
    scale, zero_point = _scale_and_zero_point(module, node, values)
    zero_point += torch.iinfo(DTYPES[dtype]).min - torch.iinfo(values["dtype"]).min
    operand = add_constant(module, f"{node.name}_scale", torch.tensor(scale, dtype=torch.float32))
    arguments = (values["input"], operand, zero_point)
    return module.graph.call_function(torch.ops.lwc.dequantize.default, arguments)


def _quantize_channels(module: fx.GraphModule, node: fx.Node, dtype: str) -> fx.Node:
    values = named_arguments(node)
    inverse = add_constant(module, f"{node.name}_inverse_scale", 1 / _channel_scales(module, node))
    arguments = (values["input"], inverse, dtype)
    return module.graph.call_function(torch.ops.lwc.quantize_channels.default, arguments)


def _dequantize_channels(module: fx.GraphModule, node: fx.Node, dtype: str) -> fx.Node:
    scale = add_constant(module, f"{node.name}_scale", _channel_scales(module, node))
    arguments = (named_arguments(node)["input"], scale)
    return module.graph.call_function(torch.ops.lwc.dequantize_channels.default, arguments)


def _channel_scales(module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    """Those of the last axis, for numbers from -127 to 127 around 0: what attention reads."""
    values = named_arguments(node)
    scales, zero_points = (constant(module, values[name]) for name in ("scales", "zero_points"))
    source = node
    # Nodes that PT2E has just made have no shape yet.
    while "val" not in source.meta:
        source = source.all_input_nodes[0]
    last = source.meta["val"].dim() - 1
    expected = (torch.int8, -STEPS, STEPS, last)
    found = tuple(values[name] for name in ("dtype", "quant_min", "quant_max", "axis"))
    if scales is None or zero_points is None or zero_points.any() or found != expected:
        raise _unsupported(node, "quantizes an activation by channel", "quantize activations by tensor")
    return scales.float()


_RULES: tuple[tuple[tuple[Any, ...], Callable[[fx.GraphModule, fx.Node, str], fx.Node]], ...] = (
    (_QUANTIZE, _quantize),
    (_DEQUANTIZE, _dequantize),
    (_QUANTIZE_CHANNELS, _quantize_channels),
    (_DEQUANTIZE_CHANNELS, _dequantize_channels),
)


def _scale_and_zero_point(module: fx.GraphModule, node: fx.Node, values: dict[str, Any]) -> tuple[float, int]:
    scale, zero_point = (_number(module, values[name]) for name in ("scale", "zero_point"))
    if scale is None or zero_point is None:
        raise _unsupported(node, "has a scale that depends on the input (dynamic quantization)", "fix it")
    if not (math.isfinite(scale) and single(scale) > 0 and math.isfinite(single(1 / scale))):
        raise _unsupported(node, f"has the scale {scale:g}", "give a positive one")
    return scale, int(zero_point)


def _number(module: fx.GraphModule, operand: Any) -> float | None:
    if not isinstance(operand, fx.Node):
        return float(operand)
    value = constant(module, operand)
    return None if value is None or value.numel() != 1 else float(value)


def _constant(module: fx.GraphModule, node: fx.Node) -> fx.Node:
    """What `node` makes of constants: a layer's weight as integers, all else as it is."""
    if node.target in (*_DEQUANTIZE, *_DEQUANTIZE_CHANNELS):
        weight = integer_weight(module, node)
        if weight is not None:
            operands = tuple(
                add_constant(module, f"{node.name}_{name}", v) for name, v in vars(weight).items()
            )
            return module.graph.call_function(torch.ops.lwc.dequantize_weight.default, operands)
    arguments, keywords = fx.node.map_arg((node.args, node.kwargs), lambda item: constant(module, item))
    target: Any = node.target
    try:
        return add_constant(module, node.name, target(*arguments, **keywords))
    # Operators check types and ranges by whatever comes to hand.
    except (AssertionError, ValueError, RuntimeError, IndexError) as error:
        raise _unsupported(node, f"does not run ({error})", "quantize the model again") from None


def _unsupported(node: fx.Node, what: str, advice: str) -> UnsupportedError:
    return UnsupportedError(f"{node.name:.100}: {what}; {advice}")
