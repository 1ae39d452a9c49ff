"""The schedule of attention.py: tasks, blocks of queries, and register tiles of its two matrix products."""

from typing import Any

from lwc.targets.kernels.attention import Attention
from lwc.targets.kernels.gemm import unroll_tile
from lwc.targets.kernels.prefetch import prefetch_rows
from lwc.targets.kernels.tiling import RegisterTile, largest_divisor
from lwc.tvm_api import Schedule


def schedule(sch: Schedule, kernel: Attention) -> None:
    """Tasks, blocks of queries and register tiles for the function that `compute` gave."""
    schedule_values(sch, kernel, schedule_blocks(sch, kernel))


def schedule_blocks(sch: Schedule, kernel: Attention, score_sums: tuple[str, ...] = ()) -> Any:
    """All that a block of queries computes; the loop over the tasks.

    score_sums: the sums over channels that the scores of a query read, beside the product.
    """
    block, task = _schedule_result(sch, kernel)
    lanes = kernel.score_tile.lanes
    _schedule_weights(sch, block, lanes)
    schedule_sums(sch, sch.get_sblock("maximum"), block, lanes)
    _schedule_scores(sch, kernel, block, score_sums)
    return task


def schedule_values(sch: Schedule, kernel: Attention, task: Any) -> None:
    """The copy of a head's values, once a task."""
    values = sch.get_sblock("values")
    sch.compute_at(values, task, preserve_unit_loops=True)
    lanes = largest_divisor(kernel.value_heads.size, kernel.value_tile.lanes)
    _unroll_vectors(sch, sch.get_loops(values)[-1], lanes)


def _unroll_vectors(sch: Schedule, loop: Any, lanes: int) -> None:
    """The innermost loop as vectors in a row; the loop over the keys around it stays one."""
    vector, lane = sch.split(loop, [None, lanes])
    sch.vectorize(lane)
    sch.unroll(vector)


def _schedule_result(sch: Schedule, kernel: Attention) -> tuple[Any, Any]:
    """The product with the values; the loops over a task's blocks, and over the tasks."""
    tile, columns = kernel.value_tile, kernel.score_tile.columns
    mixed, mean, result = (sch.get_sblock(name) for name in ("mixed", "mean", "result"))
    b, h, m, j = sch.get_loops(mean)
    group, block, row_tile, row = sch.split(m, [None, kernel.blocks, columns // tile.rows, tile.rows])
    panel, column = sch.split(j, [None, tile.columns])
    sch.reorder(b, h, group, block, row_tile, panel, row, column)
    task = sch.fuse(b, h, group)
    sch.parallel(task)
    sch.reverse_compute_at(result, panel, preserve_unit_loops=True)
    *_, m, h, j = sch.get_loops(result)
    sch.reorder(h, m, j)
    # The last vectors of a head store some of their channels only.
    unroll_tile(sch, [m, j], largest_divisor(kernel.value_heads.size, tile.lanes))
    sch.compute_at(mixed, panel, preserve_unit_loops=True)
    unroll_tile(sch, [row, column], tile.lanes)
    _schedule_product(sch, mixed, tile)
    return block, task


def _schedule_product(sch: Schedule, product: Any, tile: RegisterTile) -> None:
    """A register tile of a matrix product, its accumulators in registers."""
    row, column, k = sch.get_loops(product)[-3:]
    sch.reorder(k, row, column)
    unroll_tile(sch, [row, column], tile.lanes)
    sch.decompose_reduction(product, k)


def _schedule_scores(sch: Schedule, kernel: Attention, block: Any, sums: tuple[str, ...]) -> None:
    """The product of keys and queries, a register tile at a time."""
    tile = kernel.score_tile
    product, scores, queries = (sch.get_sblock(name) for name in ("product", "scores", "queries"))
    sch.compute_at(scores, block, preserve_unit_loops=True)
    n, m = sch.get_loops(scores)[-2:]
    row_tile, row = sch.split(n, [None, tile.rows])
    sch.compute_at(product, row_tile, preserve_unit_loops=True)
    for name in sums:
        schedule_sums(sch, sch.get_sblock(name), block, tile.lanes)
    if kernel.biased:
        size = kernel.heads * kernel.padded_queries * kernel.keys
        prefetch_rows(sch, row, tile.columns, size)
    unroll_tile(sch, [row, m], tile.lanes)
    _schedule_product(sch, product, tile)
    sch.compute_at(queries, block, preserve_unit_loops=True)
    # LLVM on its own would read along k and scatter.
    _unroll_vectors(sch, sch.get_loops(queries)[-1], tile.lanes)


def _schedule_weights(sch: Schedule, block: Any, lanes: int) -> None:
    """The exponentials and their sum: vectors of queries, down the keys."""
    weights, total = sch.get_sblock("weights"), sch.get_sblock("total")
    sch.compute_at(total, block, preserve_unit_loops=True)
    sch.compute_at(weights, block, preserve_unit_loops=True)
    n, m = sch.get_loops(weights)[-2:]
    sch.reverse_compute_at(total, n, preserve_unit_loops=True)
    _unroll_vectors(sch, m, lanes)
    _unroll_vectors(sch, sch.get_loops(total)[-2], lanes)
    sch.decompose_reduction(total, n)


def schedule_sums(sch: Schedule, sums: Any, place: Any, lanes: int) -> None:
    """A reduction inside the loop `place`: vectors along the axis before, down the reduced one."""
    sch.compute_at(sums, place, preserve_unit_loops=True)
    m, n = sch.get_loops(sums)[-2:]
    vector, lane = sch.split(m, [None, lanes])
    sch.reorder(n, vector, lane)
    sch.vectorize(lane)
    sch.unroll(vector)
    sch.decompose_reduction(sums, n)
