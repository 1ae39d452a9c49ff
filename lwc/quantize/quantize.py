"""From a float program to one with quantize and dequantize nodes, by ranges measured on samples."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from lwc.graph import add_constant, calls, constant
from lwc.ops.quantize import DTYPES
from lwc.ops.requantize import single
from lwc.pipeline.run import refresh
from lwc.pipeline.shapes import Shapes
from lwc.trace import Program

Sample = tuple[torch.Tensor, ...]


def quantize(program: Program, samples: Sequence[Sample], note: Callable[[str], None]) -> Program:
    """`program` with `lwc::quantize`, `lwc::dequantize` and `lwc::dequantize_weight`, ranges measured on `samples`.

    Activations are of the type that the target multiplies fastest. `note` is told how far the measuring is.
    """
    with _quiet():
        # Takes seconds to import.
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        from lwc.quantize.quantizer import LwcQuantizer

        observed = prepare_pt2e(deepcopy(program.module), LwcQuantizer())
        with torch.no_grad():
            for number, sample in enumerate(samples, start=1):
                note(f"sample {number} of {len(samples)}")
                observed(*sample)
        converted = convert_pt2e(observed)
    dtype = "uint8" if program.target is None else program.target.quantized_dtype
    result = replace(program, module=converted)
    raise_quantization(converted, dtype)
    refresh(result, Shapes())
    return result


@contextmanager
def _quiet() -> Iterator[None]:
    """torchao tells, as it is imported, of GPU libraries that are not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def raise_quantization(module: fx.GraphModule, dtype: str) -> None:
    """Write PyTorch's quantize and dequantize nodes, which a graph exported from PT2E has, as lwc's, for `dtype`."""
    quantized = torch.ops.quantized_decomposed
    graph = module.graph
    offset = torch.iinfo(DTYPES[dtype]).min
    for node in calls(graph, quantized.quantize_per_tensor.default, quantized.dequantize_per_tensor.default):
        operands: Any = node.args
        x, scale, zero_point, lowest = operands[:4]
        # Of the lowest number: the same real numbers for either type.
        zero_point = zero_point - lowest + offset
        with graph.inserting_before(node):
            if node.target is quantized.quantize_per_tensor.default:
                raised = graph.call_function(
                    torch.ops.lwc.quantize.default, (x, single(1 / single(scale)), zero_point, dtype)
                )
            else:
                value = add_constant(module, f"{node.name}_scale", torch.tensor(scale, dtype=torch.float32))
                raised = graph.call_function(torch.ops.lwc.dequantize.default, (x, value, zero_point))
        node.replace_all_uses_with(raised)
        graph.erase_node(node)
    for node in calls(graph, quantized.dequantize_per_channel.default):
        weight, scales = (constant(module, argument) for argument in node.args[:2])
        assert weight is not None
        assert scales is not None
        with graph.inserting_before(node):
            operands = (
                add_constant(module, f"{node.name}_integers", weight),
                add_constant(module, f"{node.name}_scales", scales.float()),
            )
            raised = graph.call_function(torch.ops.lwc.dequantize_weight.default, operands)
        node.replace_all_uses_with(raised)
        graph.erase_node(node)
