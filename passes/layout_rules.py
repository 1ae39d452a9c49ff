"""A transpose from NHWC to NCHW moves down through operators that do not care, until it meets its inverse."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from lwc.graph import RESHAPES, add_constant, aten, constant, shape_of
from lwc.ops.view import named_arguments

TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)

_ELEMENTWISE = {
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.mul.Tensor,
    aten.div.Tensor,
    aten.maximum.default,
    aten.minimum.default,
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
}


def permute(graph: fx.Graph, x: fx.Node, order: tuple[int, ...]) -> fx.Node:
    """A node that permutes x's axes, at the graph's insertion point."""
    node = graph.call_function(aten.permute.default, (x, list(order)))
    node.meta["val"] = x.meta["val"].permute(order)
    return node


def is_permute(node: Any, order: tuple[int, ...]) -> bool:
    """Whether `node` permutes its operand's axes by `order`."""
    if not isinstance(node, fx.Node) or node.target is not aten.permute.default:
        return False
    axes: Any = node.args[1]
    return tuple(axis % len(axes) for axis in axes) == order


def move_down(module: fx.GraphModule, node: fx.Node) -> bool:
    """Apply the first rule that fits `node`; whether one did."""
    if node.op != "call_function" or not node.users:
        return False
    return any(rule(module, node) for rule in _RULES)


def _replace(graph: fx.Graph, node: fx.Node, target: Any, arguments: tuple[Any, ...]) -> fx.Node:
    """A call of `target` in NHWC, and `node`'s users given its transpose to NCHW."""
    made = graph.call_function(target, arguments, dict(node.kwargs))
    made.meta = {**node.meta, "val": node.meta["val"].permute(TO_NHWC)}
    node.replace_all_uses_with(permute(graph, made, TO_NCHW))
    return made


def _cancel(module: fx.GraphModule, node: fx.Node) -> bool:
    """to_nhwc(to_nchw(x)) = x."""
    source: Any = node.args[0] if node.args else None
    if not is_permute(node, TO_NHWC) or not is_permute(source, TO_NCHW):
        return False
    node.replace_all_uses_with(source.args[0])
    return True


def _elementwise(module: fx.GraphModule, node: fx.Node) -> bool:
    """f(to_nchw(a), to_nchw(b)) = to_nchw(f(a, b)), constants turned.

    Each operand has four axes or none, so what broadcasts in NCHW broadcasts in NHWC.
    """
    if node.target not in _ELEMENTWISE or len(shape_of(node)) != 4:
        return False
    if not any(is_permute(argument, TO_NCHW) for argument in node.args):
        return False
    if any(isinstance(a, fx.Node) and not _turnable(module, a) for a in node.args):
        return False
    with module.graph.inserting_before(node):
        arguments = tuple(_turn(module, a) if isinstance(a, fx.Node) else a for a in node.args)
        _replace(module.graph, node, node.target, arguments)
    return True


def _turnable(module: fx.GraphModule, argument: fx.Node) -> bool:
    return is_permute(argument, TO_NCHW) or constant(module, argument) is not None


def _turn(module: fx.GraphModule, argument: fx.Node) -> Any:
    if is_permute(argument, TO_NCHW):
        return argument.args[0]
    value = constant(module, argument)
    assert value is not None
    if value.numel() == 1 and value.dim() < 4:
        return argument
    turned = value.reshape((1,) * (4 - value.dim()) + value.shape).permute(TO_NHWC)
    return add_constant(module, f"{argument.target}_nhwc", turned)


def _concatenate(module: fx.GraphModule, node: fx.Node) -> bool:
    """cat(to_nchw(a), to_nchw(b); channels) = to_nchw(cat(a, b; channels))."""
    if node.target is not aten.cat.default:
        return False
    tensors: Any = node.args[0]
    axis: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if not all(is_permute(t, TO_NCHW) for t in tensors):
        return False
    with module.graph.inserting_before(node):
        arguments = ([t.args[0] for t in tensors], TO_NCHW[axis % 4])
        made = _replace(module.graph, node, aten.cat.default, arguments)
        made.kwargs = {}
    return True


def _average(module: fx.GraphModule, node: fx.Node) -> bool:
    """Global average pooling is the mean over NHWC's axes 1 and 2."""
    source: Any = node.args[0] if node.args else None
    if not is_permute(source, TO_NCHW):
        return False
    if node.target is aten.adaptive_avg_pool2d.default:
        values: dict[str, Any] = {"dim": (2, 3) if list(node.args[1]) == [1, 1] else (), "keepdim": True}  # type: ignore[arg-type]
    elif node.target is aten.mean.dim:
        values = named_arguments(node)
    else:
        return False
    if {axis % 4 for axis in values["dim"] or ()} != {2, 3}:
        return False
    with module.graph.inserting_before(node):
        made = module.graph.call_function(aten.mean.dim, (source.args[0], [1, 2], values["keepdim"]))
        made.meta = dict(node.meta)
        if values.get("dtype") is not None:
            made.kwargs = {"dtype": values["dtype"]}
        result = made
        if values["keepdim"]:
            made.meta["val"] = node.meta["val"].permute(TO_NHWC)
            result = permute(module.graph, made, TO_NCHW)
    node.replace_all_uses_with(result)
    return True


def _upsample_one_pixel(module: fx.GraphModule, node: fx.Node) -> bool:
    """Interpolating an image of one pixel repeats it."""
    source: Any = node.args[0] if node.args else None
    if node.target is not aten.upsample_bilinear2d.vec or not is_permute(source, TO_NCHW):
        return False
    if shape_of(source)[2:] != (1, 1):
        return False
    batch, channels, rows, columns = shape_of(node)
    with module.graph.inserting_before(node):
        made = _replace(
            module.graph, node, aten.expand.default, (source.args[0], [batch, rows, columns, channels])
        )
        made.kwargs = {}
    return True


def _flatten_one_pixel(module: fx.GraphModule, node: fx.Node) -> bool:
    """view(to_nchw(x)) = view(x) where x has one pixel."""
    source: Any = node.args[0] if node.args else None
    if node.target not in RESHAPES or not is_permute(source, TO_NCHW) or shape_of(source)[2:] != (1, 1):
        return False
    node.args = (source.args[0], *node.args[1:])
    return True


def _tokens(module: fx.GraphModule, node: fx.Node) -> bool:
    """transpose(view(to_nchw(x), (N, C, HW))) = view(x, (N, HW, C))."""
    swapped = node.target is aten.transpose.int and {a % 3 for a in node.args[1:]} == {1, 2}  # type: ignore[operator]
    if not swapped and not is_permute(node, (0, 2, 1)):
        return False
    view: Any = node.args[0]
    if view.target not in RESHAPES or not is_permute(view.args[0], TO_NCHW):
        return False
    image = view.args[0]
    if shape_of(view)[:2] != shape_of(image)[:2] or len(shape_of(view)) != 3:
        return False
    with module.graph.inserting_before(node):
        made = module.graph.call_function(aten.reshape.default, (image.args[0], list(shape_of(node))))
        made.meta = {**node.meta, "val": torch.empty(shape_of(node), device="meta")}
        node.replace_all_uses_with(made)
    return True


_RULES: tuple[Callable[[fx.GraphModule, fx.Node], bool], ...] = (
    _cancel,
    _elementwise,
    _concatenate,
    _average,
    _upsample_one_pixel,
    _flatten_one_pixel,
    _tokens,
)
