"""Bias correction: rounded weights shift the mean of a layer's result, which its bias can take back.

With q(W) the rounded weights and x the float model's inputs of the layer,

    b' = b - mean over samples and positions of (op(x, q(W)) - op(x, W)) = b - mean of op(mean x, q(W) - W)

for each output channel (M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
ICCV 2019, section 4.2, with measured means instead of those that batch norms tell). Depthwise layers gain most: nine
roundings of a channel do not average out.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from lwc.graph import add_constant, constant
from lwc.ops import ConvView
from lwc.ops.view import named_arguments
from lwc.trace import Program

_CONV2D, _LINEAR = torch.ops.lwc.conv2d.default, torch.ops.lwc.linear.default


def correct_biases(quantized: Program, original: Program, samples: Sequence[tuple[torch.Tensor, ...]]) -> int:
    """Write new biases into `quantized`, which was made from `original`; how many layers have one."""
    before, after = (_layers(program) for program in (original, quantized))
    means = _mean_inputs(original, samples)
    count = 0
    for float_layer, layer in zip(before, after, strict=True):
        rounded = _rounded_weight(quantized, layer)
        if rounded is None:
            continue
        weight = constant(original.module, named_arguments(float_layer)["weight"])
        assert weight is not None
        shift = _mean_result(float_layer, means[float_layer], rounded - weight)
        _subtract_from_bias(quantized.module, layer, shift)
        count += 1
    quantized.module.recompile()
    return count


def _layers(program: Program) -> list[fx.Node]:
    return [node for node in program.module.graph.nodes if node.target in (_CONV2D, _LINEAR)]


class _MeanInputs(fx.Interpreter):
    """Runs a graph, and adds up what its layers read."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.sums: dict[fx.Node, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The result of `n`."""
        if n.target in (_CONV2D, _LINEAR):
            x = self.env[n.all_input_nodes[0]]
            self.sums[n] = self.sums[n] + x if n in self.sums else x.clone()
        return super().run_node(n)


def _mean_inputs(
    program: Program, samples: Sequence[tuple[torch.Tensor, ...]]
) -> dict[fx.Node, torch.Tensor]:
    interpreter = _MeanInputs(program.module)
    with torch.no_grad():
        for sample in samples:
            interpreter.run(*sample)
    return {node: total / len(samples) for node, total in interpreter.sums.items()}


def _rounded_weight(program: Program, layer: fx.Node) -> torch.Tensor | None:
    """The rounded weight of `layer` as real numbers; None where it is not rounded."""
    node = named_arguments(layer)["weight"]
    if node.target is not torch.ops.lwc.dequantize_weight.default:
        return None
    values = [constant(program.module, argument) for argument in node.args]
    result: torch.Tensor = torch.ops.lwc.dequantize_weight(*values)
    return result


def _mean_result(layer: fx.Node, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The mean of each channel of what `layer` makes of x with `weight`, before bias and activation."""
    plain = (None, None, "identity", None, None)
    if layer.target is _LINEAR:
        y = torch.ops.lwc.linear(x, weight, *plain)
    else:
        view = ConvView.of(layer)
        geometry = (list(view.stride), list(view.padding), list(view.dilation), view.groups)
        y = torch.ops.lwc.conv2d(x, weight, *plain[:2], *geometry, *plain[2:], view.input_layout, "NHWC")
    return torch.as_tensor(y.reshape(-1, y.shape[-1]).mean(0))


def _subtract_from_bias(module: fx.GraphModule, layer: fx.Node, shift: torch.Tensor) -> None:
    bias = constant(module, named_arguments(layer)["bias"])
    with module.graph.inserting_before(layer):
        corrected = add_constant(
            module, f"{layer.name}_bias_corrected", -shift if bias is None else bias - shift
        )
    # The operators' third operand.
    layer.args = (*layer.args[:2], corrected, *layer.args[3:])
