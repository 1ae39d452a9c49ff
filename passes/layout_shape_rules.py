"""How a transpose moves down through operators that change an image's extents, or flatten it.

Each rule gives the rewrite to make where it fits a node, else None.
"""

from typing import Any

from torch import fx

from lwc.graph import RESHAPES, aten, shape_of
from lwc.ops.view import named_arguments
from lwc.passes.layout import Rewrite, is_permute, nhwc_of, replace_by_call, replace_by_nhwc_call


def global_average(module: fx.GraphModule, node: fx.Node) -> Rewrite | None:
    """The mean of to_nchw(x) over rows and columns is that of x over its axes 1 and 2."""
    if node.target not in (aten.adaptive_avg_pool2d.default, aten.mean.dim):
        return None
    x, values = nhwc_of(node.args[0]), named_arguments(node)
    if x is None or not _over_rows_and_columns(values):
        return None
    keep = values.get("keepdim", True)
    dtype = values.get("dtype")
    replace = replace_by_nhwc_call if keep else replace_by_call
    keywords = {} if dtype is None else {"dtype": dtype}
    return lambda: replace(module.graph, node, aten.mean.dim, (x, [1, 2], keep), keywords)


def _over_rows_and_columns(values: dict[str, Any]) -> bool:
    if "output_size" in values:
        return list(values["output_size"]) == [1, 1]
    return {axis % 4 for axis in values["dim"] or ()} == {2, 3}


def upsample_one_pixel(module: fx.GraphModule, node: fx.Node) -> Rewrite | None:
    """upsample(to_nchw(x)) = to_nchw(expand(x)) where x has one pixel: interpolating repeats it."""
    if node.target is not aten.upsample_bilinear2d.vec:
        return None
    x = nhwc_of(node.args[0])
    if x is None or not _has_one_pixel(x):
        return None
    batch, channels, rows, columns = shape_of(node)
    arguments = (x, [batch, rows, columns, channels])
    return lambda: replace_by_nhwc_call(module.graph, node, aten.expand.default, arguments, {})


def flatten_one_pixel(module: fx.GraphModule, node: fx.Node) -> Rewrite | None:
    """reshape(to_nchw(x)) = reshape(x) where x has one pixel."""
    if node.target not in RESHAPES:
        return None
    x = nhwc_of(node.args[0])
    if x is None or not _has_one_pixel(x):
        return None
    return lambda: replace_by_call(module.graph, node, aten.reshape.default, (x, node.args[1]), {})


def _has_one_pixel(x: fx.Node) -> bool:
    return shape_of(x)[1:3] == (1, 1)


def flatten_to_tokens(module: fx.GraphModule, node: fx.Node) -> Rewrite | None:
    """transpose(reshape(to_nchw(x), (N, C, HW))) = reshape(x, (N, HW, C))."""
    flat: Any = node.args[0] if _swaps_last_two_of_three(node) else None
    if flat is None or flat.target not in RESHAPES:
        return None
    x = nhwc_of(flat.args[0])
    if x is None or shape_of(flat)[:2] != (shape_of(x)[0], shape_of(x)[3]):
        return None
    arguments = (x, list(shape_of(node)))
    return lambda: replace_by_call(module.graph, node, aten.reshape.default, arguments, {})


def _swaps_last_two_of_three(node: fx.Node) -> bool:
    if node.target is not aten.transpose.int:
        return is_permute(node, (0, 2, 1))
    axes: Any = node.args[1:]
    return len(shape_of(node)) == 3 and {axis % 3 for axis in axes} == {1, 2}
