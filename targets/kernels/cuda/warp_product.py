"""A product with few rows on a GPU: all time goes into reading the right operand, once.

A warp takes a column of results: its lanes read neighbouring k of that column, and their sums are added by shuffles.
"""

import operator
from collections.abc import Callable
from typing import Any

from lwc.targets.kernels.tiling import round_up
from lwc.tvm_api import Schedule, te, tirx

# More rows than this share what is read in the tile of a block.
MOST_ROWS = 4
# Of a block.
_WARPS = 4


def warp_product(
    rows: int,
    inner: int,
    columns: int,
    warp: int,
    lanes: int,
    left: Callable[..., Any],
    right: Callable[..., Any],
    multiply: Callable[[Any, Any], Any] = operator.mul,
    dtype: str = "float32",
) -> Any:
    """The stages `left`, `right` and `product` of a product of (rows, inner) and (inner, columns), by `warp` threads.

    `left(i, k)` and `right(k, j)` give the operands' elements, and `multiply` what two of them, of `dtype`, add to
    a sum. Gives (rows, columns), rounded up to whole blocks.
    """
    padded = round_up(inner, warp * lanes)
    blocks = round_up(columns, _WARPS)
    k = te.reduce_axis((0, padded), name="k")

    def or_zero(k: Any, value: Any) -> Any:
        return value if padded == inner else tirx.if_then_else(k < inner, value, tirx.const(0, dtype))

    def column(j: Any) -> Any:
        # Warps beyond the last column repeat it: their results are never stored.
        return j if blocks == columns else tirx.min(j, columns - 1)

    x = te.compute((rows, padded), lambda i, k: or_zero(k, left(i, k)), name="left")
    w = te.compute((padded, blocks), lambda k, j: or_zero(k, right(k, column(j))), name="right")
    return te.compute((rows, blocks), lambda i, j: te.sum(multiply(x[i, k], w[k, j]), axis=k), name="product")


def schedule_warp_product(sch: Schedule, warp: int, lanes: int) -> None:
    """Blocks of warps for `warp_product` and the stage `result` (rows, columns) after it.

    `lanes` neighbouring k lie side by side in memory, in both operands.
    """
    left, right, product, result = (sch.get_sblock(name) for name in ("left", "right", "product", "result"))
    i, j, k = sch.get_loops(product)
    block, column = sch.split(j, [None, _WARPS])
    step, thread, lane = sch.split(k, [None, warp, lanes])
    sch.reorder(i, block, column, thread, step, lane)
    sch.bind(sch.fuse(i, block), "blockIdx.x")
    sch.bind(column, "threadIdx.y")
    sch.bind(thread, "threadIdx.x")
    sch.set_scope(product, 0, "local")
    sch.reverse_compute_at(result, column, preserve_unit_loops=True)
    for read, axis in ((left, -1), (right, -2)):
        sch.set_scope(read, 0, "local")
        sch.compute_at(read, step, preserve_unit_loops=True)
        sch.vectorize(sch.get_loops(read)[axis])
    sch.unroll(lane)
