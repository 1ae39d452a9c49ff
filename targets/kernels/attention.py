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
from lwc.targets.kernels.tiling import (
    RegisterTile,
    largest_divisor,
    register_tile,
    round_up,
)
from lwc.targets.target import Target
from lwc.tvm_api import te, tirx


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
    biased: bool
    epilogue: Epilogue
    score_tile: RegisterTile  # keys by queries; its columns are the block of queries
    value_tile: RegisterTile  # queries by channels of the result
    blocks: int  # in one parallel task

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, of both products."""
        sizes = self.query_heads.size + self.value_heads.size
        return self.batch * self.heads * self.queries * self.keys * sizes

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
    biased: bool,
    epilogue: Epilogue,
    target: Target,
) -> Attention:
    """The kernel for `heads` of each of `batch` images, tiled for `target`."""
    # As many queries as their scores fit into three quarters of the first-level cache, in blocks of the same size.
    limit = max(1, target.l1_bytes * 3 // 4 // (4 * keys) // target.float_lanes) * target.float_lanes
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
        biased,
        epilogue,
        scores,
        values,
        _blocks_of_a_task(blocks, batch * heads, target.cores),
    )


def _blocks_of_a_task(blocks: int, heads: int, cores: int) -> int:
    """How many of a head's `blocks` one task takes, for the shortest time on `cores`.

    To copy the head's values takes a task about half as long as a block.
    """

    def time(size: int) -> float:
        tasks = heads * -(-blocks // size)
        return -(-tasks // cores) * (size + 0.5)

    return min(range(1, blocks + 1), key=time)


def _whole_vectors(columns: int, target: Target) -> int:
    """`columns` rounded up to the target's vectors, or to the one smaller vector that holds them all."""
    lanes = target.float_lanes
    while lanes // 2 >= columns:
        lanes //= 2
    return round_up(columns, lanes)


def pack(kernel: Attention, bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bias (heads, M, N) in the kernel's order [heads, M / mr, N, mr], zeros for the queries that pad."""
    padded = np.pad(bias, ((0, 0), (0, kernel.padded_queries - kernel.queries), (0, 0)))
    blocks = padded.reshape(len(bias), -1, kernel.score_tile.columns, kernel.keys)
    return np.ascontiguousarray(blocks.transpose(0, 1, 3, 2))


def compute(kernel: Attention, query: Any, key: Any, value: Any, bias: Any = None) -> Any:
    """The tensor expression; query (B, M, Cq), key (B, N, Ck), value (B, N, Cv), bias packed.

    The result is (B, M, heads, value size).
    """
    scores = _scores(kernel, query, key, bias)
    extents, keys = (kernel.batch, kernel.heads, kernel.padded_queries), kernel.keys
    n = te.reduce_axis((0, keys), name="n")
    maximum = te.compute(extents, lambda b, h, m: te.max(scores[b, h, n, m], axis=n), name="maximum")
    weights = te.compute(
        scores.shape,
        lambda b, h, n, m: tirx.exp(scores[b, h, n, m] - maximum[b, h, m]),
        name="weights",
    )
    n = te.reduce_axis((0, keys), name="n")
    total = te.compute(extents, lambda b, h, m: te.sum(weights[b, h, n, m], axis=n), name="total")
    values = _values(kernel, value)
    n = te.reduce_axis((0, keys), name="n")
    mixed = te.compute(
        (*extents, kernel.padded_size),
        lambda b, h, m, j: te.sum(weights[b, h, n, m] * values[b, h, n, j], axis=n),
        name="mixed",
    )
    mean = te.compute(
        mixed.shape,
        lambda b, h, m, j: kernel.epilogue(mixed[b, h, m, j] / total[b, h, m]),
        name="mean",
    )
    return te.compute(
        (kernel.batch, kernel.queries, kernel.heads, kernel.value_heads.size),
        lambda b, m, h, j: mean[b, h, m, j],
        name="result",
    )


def _scores(kernel: Attention, query: Any, key: Any, bias: Any) -> Any:
    """scale * q k^T + bias as (B, heads, N, M rounded up to whole tasks)."""
    at_query, at_key, keys = kernel.query_heads, kernel.key_heads, kernel.keys
    images, rows = (kernel.batch, kernel.heads), kernel.padded_queries
    columns = kernel.score_tile.columns
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
    return te.compute(
        (*images, keys, rows),
        lambda b, h, n, m: (
            product[b, h, n, m] + (0 if bias is None else bias[h, m // columns, n, m % columns])
        ),
        name="scores",
    )


def _values(kernel: Attention, value: Any) -> Any:
    """v as (B, heads, N, value size in whole vectors), zeros in what pads."""
    where = kernel.value_heads
    return te.compute(
        (kernel.batch, kernel.heads, kernel.keys, kernel.padded_size),
        lambda b, h, n, j: tirx.if_then_else(
            j < where.size,
            value[b, n, where.offset + h * where.stride + j],
            tirx.const(0, "float32"),
        ),
        name="values",
    )
