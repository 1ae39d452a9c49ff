"""8-bit integers at a program's border: its first quantizations and its last dequantizations become the caller's.

Given:   dequantize(f(quantize(x)))     x and the result are float32
Result:  f(x)                           x and the result are uint8

Bytes at the border are unsigned for every target, as pixels are; where kernels multiply signed ones, they are
recentred on the way.
"""

from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from lwc.errors import UnsupportedError
from lwc.graph import constant
from lwc.ops import DequantizeView, QuantizeView
from lwc.ops.quantize import DTYPES
from lwc.ops.requantize import single
from lwc.package.steps import Steps, quantize
from lwc.pipeline.run import refresh
from lwc.pipeline.shapes import Shapes
from lwc.trace import Program

_DEQUANTIZE, _RECENTER = torch.ops.lwc.dequantize.default, torch.ops.lwc.recenter.default
_DTYPE = "uint8"


@dataclass(frozen=True)
class Bordered:
    """A program, and what the elements of its inputs and outputs mean."""

    program: Program
    inputs: tuple[Steps, ...]
    outputs: tuple[Steps, ...]


def float_io(program: Program) -> Bordered:
    """`program` as it is, with float32 at its border."""
    (output,) = program.module.graph.find_nodes(op="output")
    return Bordered(program, (Steps(),) * len(program.inputs), (Steps(),) * len(tree_leaves(output.args)))


def integer_io(program: Program) -> Bordered:
    """`program`, whose inputs and outputs were quantized, with the integers at its border.

    Raises UnsupportedError for an input that nothing reads, and for an output that no input reaches: they have no
    range.
    """
    module = deepcopy(program.module)
    outputs = _give_integers(module)
    inputs = tuple(map(_take_integers, module.graph.find_nodes(op="placeholder")))
    sample = tuple(
        torch.from_numpy(quantize(x.numpy(), steps)) for x, steps in zip(program.inputs, inputs, strict=True)
    )
    result = replace(program, module=module, inputs=sample)
    refresh(result, Shapes())
    return Bordered(result, inputs, outputs)


def _take_integers(x: fx.Node) -> Steps:
    """Let what quantizes an input read integers; what they mean."""
    views = {QuantizeView.of(reader) for reader in x.users}
    if len(views) != 1:
        raise UnsupportedError(
            f"input {x.name!r}: nothing reads it, so it has no range; leave it out of the model, or --io int8"
        )
    (view,) = views
    for reader in tuple(x.users):
        if view.dtype == _DTYPE:
            reader.replace_all_uses_with(x)
            x.graph.erase_node(reader)
        else:
            reader.target, reader.args = _RECENTER, (x, view.dtype)
    return _steps(1 / view.inverse_scale, view.zero_point, view.dtype)


def _give_integers(module: fx.GraphModule) -> tuple[Steps, ...]:
    """Let the outputs be the integers that were made real; what they mean."""
    (output,) = module.graph.find_nodes(op="output")
    steps: list[Steps] = []

    def integers(value: fx.Node) -> fx.Node:
        if value.target is not _DEQUANTIZE:
            raise UnsupportedError(
                f"output {len(steps)}: is a constant, so it has no range; leave it out of the model, or --io int8"
            )
        view = DequantizeView.of(value)
        dtype = str(view.x.meta["val"].dtype).removeprefix("torch.")
        scale = constant(module, view.scale)
        assert scale is not None
        steps.append(_steps(float(scale), view.zero_point, dtype))
        if dtype == _DTYPE:
            return view.x
        with module.graph.inserting_before(output):
            return module.graph.call_function(_RECENTER, (view.x, _DTYPE))

    output.args = fx.node.map_arg(output.args, integers)
    return tuple(steps)


def _steps(scale: float, zero_point: int, dtype: str) -> Steps:
    """Those at the border of a tensor that kernels hold in `dtype`."""
    return Steps(_DTYPE, single(scale), zero_point - torch.iinfo(DTYPES[dtype]).min)
