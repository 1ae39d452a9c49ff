"""Which tensors become 8-bit integers: our rules for torchao's quantization of exported graphs (PT2E)."""

from typing import Any

import torch
from torch import fx
from torchao.quantization.pt2e import PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, QuantizationSpec, Quantizer

from lwc.graph import aten
from lwc.ops.view import named_arguments
from lwc.quantize.attention_rules import attention_specs
from lwc.quantize.choices import Rules
from lwc.quantize.observers import OBSERVER_CLASSES

_CONV2D, _LINEAR = torch.ops.lwc.conv2d.default, torch.ops.lwc.linear.default
_ANNOTATION = "quantization_annotation"

_WEIGHT = QuantizationSpec(
    dtype=torch.int8,
    observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=2.0**-60),
    # Symmetric: -128 would have no counterpart.
    quant_min=-127,
    quant_max=127,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
)


class LwcQuantizer(Quantizer):  # type: ignore[misc]
    """Inputs of convolutions, linear layers and means in uint8, per tensor; weights in int8, per output channel.

    A result is quantized where a layer reads it that is. A residual stays float32 where nothing else needs it in
    integers: the trunk of a transformer, which layer norms read. With integers at the border, so are the model's
    inputs, for whatever reads them, and its outputs.
    """

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self._integer_io = rules.io == "int8"
        self._activation = QuantizationSpec(
            dtype=torch.uint8,
            observer_or_fake_quant_ctr=OBSERVER_CLASSES[rules.observer].with_args(eps=2.0**-30),
            quant_min=0,
            quant_max=255,
            qscheme=torch.per_tensor_affine,
        )

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Mark what is to be observed and quantized."""
        layers = {node for node in model.graph.nodes if is_quantizable(node)}
        quantized = {named_arguments(node).get("x", node.args[0]) for node in layers}
        for node in model.graph.nodes:
            specs = _layer_specs(node, quantized, self._activation) if node in layers else {}
            specs |= attention_specs(node, layers)
            if self._integer_io:
                specs |= _border_specs(node, self._activation)
            if specs:
                node.meta[_ANNOTATION] = QuantizationAnnotation(input_qspec_map=specs, _annotated=True)
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing can be wrong with what `annotate` wrote."""


def _layer_specs(
    node: fx.Node, quantized: set[Any], activation: QuantizationSpec
) -> dict[Any, QuantizationSpec]:
    """What becomes integers of the operands of a layer; `quantized` are the inputs of all of them."""
    arguments = named_arguments(node)
    specs = {node.args[0]: activation}
    if node.target in (_CONV2D, _LINEAR):
        specs[arguments["weight"]] = _WEIGHT
    residual = arguments.get("residual")
    if residual in quantized:
        specs[residual] = activation
    return specs


def _border_specs(node: fx.Node, activation: QuantizationSpec) -> dict[Any, QuantizationSpec]:
    """Those of the model's inputs that `node` reads, and its outputs, where `node` returns them."""
    returns = node.op == "output"
    read = [
        operand
        for operand in node.all_input_nodes
        if operand.op == "placeholder" or (returns and operand.op != "get_attr")
    ]
    return dict.fromkeys(read, activation)


def is_quantizable(node: fx.Node) -> bool:
    """Whether lwc has an integer kernel for `node`."""
    if node.op != "call_function":
        return False
    if node.target is aten.mean.dim:
        return _is_float(node.args[0]) and bool(named_arguments(node)["dim"])
    if node.target not in (_CONV2D, _LINEAR):
        return False
    arguments = named_arguments(node)
    weight = arguments["weight"]
    if weight.op != "get_attr" or not _is_float(arguments["x"]):
        return False
    bias = arguments["bias"]
    if bias is not None and bias.op != "get_attr":
        return False
    if node.target is _LINEAR:
        return True
    depthwise = arguments["groups"] == weight.meta["val"].shape[0] and weight.meta["val"].shape[1] == 1
    return bool(arguments["groups"] == 1 or depthwise)


def _is_float(node: Any) -> bool:
    return bool(node.meta["val"].dtype == torch.float32)
