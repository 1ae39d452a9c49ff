"""What an affine operator makes of the linear layers it reads.

Given:   y = f(x W1^T + b1, x W2^T + b2),    f(u, v) = L(u, v) + t: a sum, a multiple, or another linear layer
Result:  y = x W^T + b,    W^T = L(W1^T, W2^T),    b = f(b1, b2)
"""

from typing import Any

import torch
from torch import fx
from torch.nn import functional

from lwc.graph import aten, constant
from lwc.ops import LinearView
from lwc.ops.view import named_arguments

LINEAR = torch.ops.lwc.linear.default
_SUMS = (aten.add.Tensor, aten.sub.Tensor, aten.rsub.Scalar)
_SCALES = (aten.mul.Tensor, aten.div.Tensor)


def operands_of(node: fx.Node) -> tuple[Any, ...]:
    """What a linear layer, sum or scale reads, parameters aside; nothing for any other operator."""
    if node.target is LINEAR:
        return (LinearView.of(node).x,)
    return tuple(named_arguments(node).values())[:2] if node.target in (*_SUMS, *_SCALES) else ()


def is_layer(operand: Any) -> bool:
    """Whether `operand` is the result of a linear layer."""
    return isinstance(operand, fx.Node) and operand.target is LINEAR


def is_affine(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` is affine in the layers it reads: it reads nothing else but numbers and constants."""
    operands = operands_of(node)
    others = [operand for operand in operands if not is_layer(operand)]
    if any(isinstance(other, fx.Node) and constant(module, other) is None for other in others):
        return False
    if node.target in _SCALES and not others:
        return False
    return node.target is not aten.div.Tensor or is_layer(operands[0])


def apply_to_parameters(module: fx.GraphModule, node: fx.Node) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight and bias of the one layer that gives what `node` gives, in float64."""
    if node.target is LINEAR:
        (weight, bias), (after, shift) = (
            _parameters(module, layer) for layer in (operands_of(node)[0], node)
        )
        return after @ weight, functional.linear(bias, after, shift)
    # L is the operator itself, with zeros in place of what it adds.
    options = {name: value for name, value in named_arguments(node).items() if name == "alpha"}
    of_weight, of_bias = [], []
    for operand in operands_of(node):
        if is_layer(operand):
            weight, bias = _parameters(module, operand)
            of_weight.append(weight.T)
            of_bias.append(bias)
            continue
        value = constant(module, operand)
        given = operand if value is None else value.double().flatten()
        of_weight.append(given * 0 if node.target in _SUMS else given)
        of_bias.append(given)
    apply: Any = node.target
    return apply(*of_weight, **options).T, apply(*of_bias, **options)


def _parameters(module: fx.GraphModule, layer: fx.Node) -> tuple[torch.Tensor, torch.Tensor]:
    view = LinearView.of(layer)
    weight, bias = constant(module, view.weight), constant(module, view.bias)
    assert weight is not None
    return weight.double(), torch.zeros(len(weight)).double() if bias is None else bias.double()
