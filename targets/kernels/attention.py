"""Softmax attention of one head and a block of its queries at a time; scores never leave the cache of a core.

Scores are kept transposed, keys by queries: the queries of a block are the lanes of a vector. So only the block's own
queries are ever transposed, keys are read where they lie, and maximum, exponential and sum of a softmax are whole
vectors down the keys. A parallel task is a group of such blocks; it copies the head's values, in whole vectors.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.kernels.gemm import unroll_tile
from lwc.targets.kernels.tiling import (
    RegisterTile,
    balanced_split,
    largest_divisor,
    register_tile,
    round_up,
)
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx


@dataclass(frozen=True)
class Heads:
    """Head h of a token is `size` of its channels, from offset + h * stride."""

    offset: int
    stride: int
    size: int


@dataclass(frozen=True)
class Attention:
    """y[b, m, h] = epilogue(softmax(scale * q k^T + bias) v) of head h, each (value size)."""

    batch: int
    heads: int
    queries: int
    keys: int
    query_heads: Heads
    key_heads: Heads
    value_heads: Heads
    scale: float
    epilogue: Epilogue
    score_tile: RegisterTile  # keys by queries; its columns are the block of queries
    value_tile: RegisterTile  # queries by channels of the result
    blocks: int  # in one parallel task

    @property
    def padded_queries(self) -> int:
        """`queries` rounded up to whole tasks."""
        return round_up(self.queries, self.blocks * self.score_tile.columns)

    @property
    def padded_size(self) -> int:
        """The channels of a head of the values, rounded up to whole vectors."""
        return round_up(self.value_heads.size, self.value_tile.lanes)


def plan(
    batch: int,
    heads: int,
    queries: int,
    keys: int,
    query_heads: Heads,
    key_heads: Heads,
    value_heads: Heads,
    scale: float,
    epilogue: Epilogue,
    target: Target,
) -> Attention:
    """The kernel for `heads` of each of `batch` images, tiled for `target`."""
    # As many queries as their scores fit into half of the first-level cache, in blocks of the same size.
    limit = max(1, target.l1_bytes // 2 // (4 * keys) // target.float_lanes) * target.float_lanes
    columns = _whole_vectors(-(-queries // -(-queries // limit)), target)
    scores = register_tile(keys, columns, target)
    size = _whole_vectors(value_heads.size, target)
    values = register_tile(scores.columns, size, target)
    values = RegisterTile(largest_divisor(scores.columns, values.rows), values.columns, values.lanes)
    blocks = -(-queries // scores.columns)
    return Attention(
        batch,
        heads,
        queries,
        keys,
        query_heads,
        key_heads,
        value_heads,
        scale,
        epilogue,
        scores,
        values,
        balanced_split(blocks, batch * heads, blocks, target.cores),
    )


def _whole_vectors(columns: int, target: Target) -> int:
    """`columns` rounded up to the target's vectors, or to the one smaller vector that holds them all."""
    lanes = target.float_lanes
    while lanes // 2 >= columns:
        lanes //= 2
    return round_up(columns, lanes)


def pack(kernel: Attention, bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bias (heads, M, N) in the kernel's order [heads, N, M], zeros for the queries that pad."""
    padding = ((0, 0), (0, 0), (0, kernel.padded_queries - kernel.queries))
    return np.ascontiguousarray(np.pad(bias.transpose(0, 2, 1), padding))


def compute(kernel: Attention, query: Any, key: Any, value: Any, bias: Any = None) -> Any:
    """The tensor expression; query (B, M, Cq), key (B, N, Ck), value (B, N, Cv), bias packed.

    The result is (B, M, heads, value size).
    """
    at_query, at_key, at_value = kernel.query_heads, kernel.key_heads, kernel.value_heads
    images, rows, keys = (kernel.batch, kernel.heads), kernel.padded_queries, kernel.keys
    scale = tirx.const(kernel.scale, "float32")
    queries = te.compute(
        (*images, at_query.size, rows),
        # Queries beyond the last repeat it: their results are never stored.
        lambda b, h, k, m: (
            scale * query[b, tirx.min(m, kernel.queries - 1), at_query.offset + h * at_query.stride + k]
        ),
        name="queries",
    )
    k = te.reduce_axis((0, at_query.size), name="k")
    product = te.compute(
        (*images, round_up(keys, kernel.score_tile.rows), rows),
        lambda b, h, n, m: te.sum(
            key[b, tirx.min(n, keys - 1), at_key.offset + h * at_key.stride + k] * queries[b, h, k, m],
            axis=k,
        ),
        name="product",
    )
    scores = te.compute(
        (*images, keys, rows),
        lambda b, h, n, m: product[b, h, n, m] + (0 if bias is None else bias[h, n, m]),
        name="scores",
    )
    n = te.reduce_axis((0, keys), name="n")
    maximum = te.compute((*images, rows), lambda b, h, m: te.max(scores[b, h, n, m], axis=n), name="maximum")
    weights = te.compute(
        (*images, keys, rows),
        lambda b, h, n, m: tirx.exp(scores[b, h, n, m] - maximum[b, h, m]),
        name="weights",
    )
    n = te.reduce_axis((0, keys), name="n")
    total = te.compute((*images, rows), lambda b, h, m: te.sum(weights[b, h, n, m], axis=n), name="total")
    values = te.compute(
        (*images, keys, kernel.padded_size),
        lambda b, h, n, j: tirx.if_then_else(
            j < at_value.size,
            value[b, n, at_value.offset + h * at_value.stride + j],
            tirx.const(0, "float32"),
        ),
        name="values",
    )
    n = te.reduce_axis((0, keys), name="n")
    mixed = te.compute(
        (*images, rows, kernel.padded_size),
        lambda b, h, m, j: te.sum(weights[b, h, n, m] * values[b, h, n, j], axis=n),
        name="mixed",
    )
    mean = te.compute(
        (*images, rows, kernel.padded_size),
        lambda b, h, m, j: kernel.epilogue(mixed[b, h, m, j] / total[b, h, m]),
        name="mean",
    )
    return te.compute(
        (kernel.batch, kernel.queries, kernel.heads, at_value.size),
        lambda b, m, h, j: mean[b, h, m, j],
        name="result",
    )


def schedule(sch: Schedule, kernel: Attention) -> None:
    """Tasks, blocks of queries and register tiles for the function that `compute` gave."""
    block, task = _schedule_result(sch, kernel)
    lanes = kernel.score_tile.lanes
    _schedule_sums(sch, sch.get_sblock("total"), block, lanes)
    weights = sch.get_sblock("weights")
    sch.compute_at(weights, block, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(weights), lanes)
    _schedule_sums(sch, sch.get_sblock("maximum"), block, lanes)
    _schedule_scores(sch, kernel, block)
    values = sch.get_sblock("values")
    sch.compute_at(values, task, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(values), largest_divisor(kernel.value_heads.size, kernel.value_tile.lanes))


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
    sch.set_scope(mean, 0, "local")
    _schedule_product(sch, mixed, tile)
    return block, task


def _schedule_product(sch: Schedule, product: Any, tile: RegisterTile) -> None:
    """A register tile of a matrix product, its accumulators in registers."""
    row, column, k = sch.get_loops(product)[-3:]
    sch.reorder(k, row, column)
    unroll_tile(sch, [row, column], tile.lanes)
    start = sch.decompose_reduction(product, k)
    sch.set_scope(start, 0, "local")


def _schedule_scores(sch: Schedule, kernel: Attention, block: Any) -> None:
    """The product of keys and queries, a register tile at a time."""
    tile = kernel.score_tile
    product, scores, queries = (sch.get_sblock(name) for name in ("product", "scores", "queries"))
    sch.compute_at(scores, block, preserve_unit_loops=True)
    sch.compute_at(product, block, preserve_unit_loops=True)
    n, m, k = sch.get_loops(product)[-3:]
    row_tile, row = sch.split(n, [None, tile.rows])
    sch.reorder(row_tile, k, row, m)
    sch.reverse_compute_at(scores, row_tile, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(scores), tile.lanes)
    unroll_tile(sch, [row, m], tile.lanes)
    start = sch.decompose_reduction(product, k)
    sch.set_scope(start, 0, "local")
    sch.compute_at(queries, block, preserve_unit_loops=True)


def _schedule_sums(sch: Schedule, sums: Any, block: Any, lanes: int) -> None:
    """A reduction over the keys: vectors of queries, down the keys."""
    sch.compute_at(sums, block, preserve_unit_loops=True)
    m, n = sch.get_loops(sums)[-2:]
    vector, lane = sch.split(m, [None, lanes])
    sch.reorder(n, vector, lane)
    sch.vectorize(lane)
    sch.unroll(vector)
    start = sch.decompose_reduction(sums, n)
    sch.set_scope(start, 0, "local")
