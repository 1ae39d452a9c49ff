"""Softmax attention on 8-bit integers on a GPU: `attention`, with sums of 32-bit integers.

`lwc/ops/quantized_attention.py` has the arithmetic. The type is int8, whose middle is 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.cuda import attention_schedule
from lwc.targets.kernels.cuda.attention import LOWEST, Attention
from lwc.targets.kernels.quantized_attention import LARGEST_WEIGHT
from lwc.targets.kernels.requantize import Requantize, fused_multiply_add, rounded
from lwc.targets.kernels.tiling import round_up
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx


@dataclass(frozen=True)
class QuantizedAttention:
    """y[b, m, h] = requantize(sum over n of p v / sum over n of p), in the blocks that `attention` says."""

    attention: Attention
    requantize: Requantize

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, of both products."""
        return self.attention.macs


def plan(attention: Attention, requantize: Requantize, target: Target) -> QuantizedAttention:
    """The kernel that shares its work as `attention` does."""
    return QuantizedAttention(attention, requantize)


def pack_multiplier(kernel: QuantizedAttention, multiplier: NDArray[np.float32]) -> NDArray[np.float32]:
    """The multipliers of a result (heads * value size) as (heads, value size)."""
    return multiplier.reshape(kernel.attention.heads, -1)


def compute(
    kernel: QuantizedAttention,
    query: Any,
    key: Any,
    value: Any,
    multiplier: Any,
    value_multiplier: Any,
    bias: Any = None,
) -> Any:
    """The tensor expression; query (B, M, Cq), key (B, N, Ck), value (B, N, Cv) of bytes, bias (heads, M, N).

    The result is (B, M, heads, value size).
    """
    where = kernel.attention
    scores = _scores(where, query, key, multiplier, bias)
    rows = tuple(scores.shape[:3])

    def over_keys(name: str, reduce: Any, of: Any) -> Any:
        """What `reduce` makes of all keys of the tensor `of`."""
        axes = [te.reduce_axis((0, extent), name="n") for extent in of.shape[3:]]
        return te.compute(rows, lambda b, h, m: reduce(of[(b, h, m, *axes)], axis=axes), name=name)

    maximum = over_keys("maximum", te.max, scores)
    largest = tirx.const(float(LARGEST_WEIGHT), "float32")
    weights = te.compute(
        scores.shape,
        lambda b, h, m, i, lane: rounded(largest * tirx.exp(scores[b, h, m, i, lane] - maximum[b, h, m])),
        name="weights",
    )
    total = over_keys("total", te.sum, weights)
    mixed = _mixed(where, weights, value)
    last = where.value_heads.size - 1

    def mean(b: Any, h: Any, m: Any, j: Any) -> Any:
        share = mixed[b, h, m, j].astype("float32") / total[b, h, m].astype("float32")
        return kernel.requantize(share, value_multiplier[h, tirx.min(j, last)])

    means = te.compute(mixed.shape, mean, name="mean")
    return te.compute(
        (where.batch, where.queries, where.heads, where.value_heads.size),
        lambda b, m, h, j: means[b, h, m, j],
        name="result",
    )


def _scores(where: Attention, query: Any, key: Any, multiplier: Any, bias: Any) -> Any:
    """The scores as (B, heads, M, N / lanes, lanes), both rounded up; keys that pad have the lowest."""
    at_query, at_key, warp = where.query_heads, where.key_heads, where.warp
    images, rows = (where.batch, where.heads), round_up(where.queries, where.block_queries)
    last_query, last_key = where.queries - 1, where.keys - 1

    def query_at(b: Any, h: Any, m: Any, k: Any) -> Any:
        # Queries beyond the last repeat it: their results are never stored.
        return query[b, tirx.min(m, last_query), at_query.offset + h * at_query.stride + k].astype("int32")

    def key_at(b: Any, h: Any, n: Any, k: Any) -> Any:
        return key[b, tirx.min(n, last_key), at_key.offset + h * at_key.stride + k].astype("int32")

    queries = te.compute((*images, rows, at_query.size), query_at, name="queries")
    keys = te.compute((*images, where.padded_keys, at_key.size), key_at, name="keys")
    k = te.reduce_axis((0, at_query.size), name="k")
    product = te.compute(
        (*images, rows, where.padded_keys // warp, warp),
        lambda b, h, m, i, lane: te.sum(queries[b, h, m, k] * keys[b, h, i * warp + lane, k], axis=k),
        name="product",
    )

    def score(b: Any, h: Any, m: Any, i: Any, lane: Any) -> Any:
        n = i * warp + lane
        addend = tirx.const(0.0, "float32")
        if bias is not None:
            addend = bias[h, tirx.min(m, last_query), tirx.min(n, last_key)]
        value = fused_multiply_add(product[b, h, m, i, lane].astype("float32"), multiplier[h], addend)
        if where.padded_keys == where.keys:
            return value
        return tirx.Select(n < where.keys, value, tirx.const(LOWEST, "float32"))

    return te.compute(product.shape, score, name="scores")


def _mixed(where: Attention, weights: Any, value: Any) -> Any:
    """The weighted sums of v as (B, heads, M, value size), rounded up; channels that pad repeat the last."""
    at_value = where.value_heads
    i, lane = (te.reduce_axis((0, extent), name="n") for extent in weights.shape[3:])
    n = tirx.min(i * where.warp + lane, where.keys - 1)

    def element(b: Any, h: Any, j: Any) -> Any:
        channel = at_value.offset + h * at_value.stride + tirx.min(j, at_value.size - 1)
        return value[b, n, channel].astype("int32")

    return te.compute(
        (*weights.shape[:3], round_up(at_value.size, where.warp)),
        lambda b, h, m, j: te.sum(weights[b, h, m, i, lane] * element(b, h, j), axis=[i, lane]),
        name="mixed",
    )


def schedule(sch: Schedule, kernel: QuantizedAttention) -> None:
    """Blocks, warps and shared memory for the function that `compute` gave."""
    attention_schedule.schedule(sch, kernel.attention)
