"""How a transpose moves down through operators that keep an image's extents, or join images.

Each rule gives the rewrite to make where it fits a node, else None.
"""

from typing import Any

import torch
from torch import fx

from lwc.graph import ELEMENTWISE, add_constant, aten, constant, shape_of
from lwc.ops.view import named_arguments
from lwc.passes.layout import TO_NCHW, TO_NHWC, Rewrite, nhwc_of, replace_by_nhwc_call

_ELEMENTWISE = {
    *ELEMENTWISE,
    aten.div.Tensor,
    aten.maximum.default,
    aten.minimum.default,
    aten.leaky_relu.default,
    aten.elu.default,
    aten.mish.default,
    aten.pow.Tensor_Scalar,
    aten.square.default,
    aten.neg.default,
    aten.abs.default,
    aten.exp.default,
    aten.log.default,
    aten.sqrt.default,
    aten.rsqrt.default,
    aten._to_copy.default,
    torch.ops.lwc.quantize.default,
    torch.ops.lwc.dequantize.default,
}


def elementwise(module: fx.GraphModule, node: fx.Node) -> Rewrite | None:
    """f(to_nchw(a), to_nchw(b)) = to_nchw(f(a, b)), constants turned."""
    if node.target not in _ELEMENTWISE or len(shape_of(node)) != 4:
        return None
    tensors = [argument for argument in node.args if isinstance(argument, fx.Node)]
    if all(nhwc_of(tensor) is None for tensor in tensors):
        return None
    # Any other operand may have fewer axes, which line up with the last ones: another meaning in NHWC.
    if any(nhwc_of(tensor) is None and constant(module, tensor) is None for tensor in tensors):
        return None

    def rewrite() -> None:
        with module.graph.inserting_before(node):
            arguments = tuple(_in_nhwc(module, argument) for argument in node.args)
        replace_by_nhwc_call(module.graph, node, node.target, arguments, dict(node.kwargs))

    return rewrite


def _in_nhwc(module: fx.GraphModule, argument: Any) -> Any:
    """What stands for `argument` in NHWC: a transpose's operand, a constant turned, a number as it is."""
    value = constant(module, argument)
    if value is None:
        return nhwc_of(argument) if isinstance(argument, fx.Node) else argument
    # A constant without axes does not widen the result's type; with four it would.
    if value.dim() == 0:
        return argument
    turned = value.reshape((1,) * (4 - value.dim()) + value.shape).permute(TO_NHWC)
    return add_constant(module, f"{argument.target}_nhwc", turned)


def concatenate(module: fx.GraphModule, node: fx.Node) -> Rewrite | None:
    """cat(to_nchw(a), to_nchw(b); channels) = to_nchw(cat(a, b; channels))."""
    if node.target is not aten.cat.default:
        return None
    values = named_arguments(node)
    tensors = [nhwc_of(tensor) for tensor in values["tensors"]]
    if any(tensor is None for tensor in tensors):
        return None
    arguments = (tensors, TO_NCHW[values["dim"] % 4])
    return lambda: replace_by_nhwc_call(module.graph, node, aten.cat.default, arguments, {})
