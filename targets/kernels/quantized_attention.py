"""Softmax attention on 8-bit integers: `attention`, its two products in dot products of four bytes.

A word holds four neighbouring channels of a query or a key, and the weights or the values of four neighbouring keys.
`lwc/ops/quantized_attention.py` has the arithmetic. The first factor of a dot product is unsigned on some targets, and
keys are stored with their zero point of 128; it is signed on others, and a weight p is stored as p - 128. What either
adds to a sum is taken off it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.attention import Attention
from lwc.targets.kernels.dot_product import dot, is_signed, word
from lwc.targets.kernels.quantized_gemm import WORD
from lwc.targets.kernels.requantize import Requantize, fused_multiply_add, rounded
from lwc.targets.kernels.tiling import round_up
from lwc.targets.target import Target
from lwc.tvm_api import te, tirx

# The weight of a query's nearest key.
LARGEST_WEIGHT = 255
_SIGN = 0x80
_HALF = 128

Expression = Any


@dataclass(frozen=True)
class QuantizedAttention:
    """y[b, m, h] = requantize(sum over n of p v / sum over n of p), tiled and scaled as `attention` says."""

    attention: Attention
    dot_product: str
    requantize: Requantize

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, of both products."""
        return self.attention.macs

    @property
    def key_words(self) -> int:
        """Words of four keys."""
        return -(-self.attention.keys // WORD)

    @property
    def key_offset(self) -> int:
        """What a key's stored byte has more than its number."""
        return 0 if is_signed(self.dot_product) else _HALF

    @property
    def weight_offset(self) -> int:
        """What a weight has more than its stored byte."""
        return _HALF if is_signed(self.dot_product) else 0


def plan(attention: Attention, requantize: Requantize, target: Target) -> QuantizedAttention:
    """The kernel that is tiled as `attention` is."""
    return QuantizedAttention(attention, target.dot_product, requantize)


def pack_multiplier(kernel: QuantizedAttention, multiplier: NDArray[np.float32]) -> NDArray[np.float32]:
    """The multipliers of a result (heads * value size) as (heads, value size in whole vectors)."""
    attention = kernel.attention
    split = multiplier.reshape(attention.heads, -1)
    return np.pad(split, ((0, 0), (0, attention.padded_size - split.shape[1])))


def compute(
    kernel: QuantizedAttention,
    query: Any,
    key: Any,
    value: Any,
    multiplier: Any,
    value_multiplier: Any,
    bias: Any = None,
) -> Any:
    """The tensor expression; query (B, M, Cq), key (B, N, Ck), value (B, N, Cv) of bytes, the others packed.

    The result is (B, M, heads, value size).
    """
    where = kernel.attention
    scores = _scores(kernel, query, key, multiplier, bias)
    extents = (where.batch, where.heads, where.padded_queries)
    weights = _weights(kernel, scores, extents)
    n = te.reduce_axis((0, kernel.key_words), name="n")
    ones = tirx.const(0x01010101, "int32")
    total = te.compute(
        extents, lambda b, h, m: te.sum(_dot(kernel, weights[b, h, n, m], ones), axis=n), name="total"
    )
    values = _values(kernel, value)
    n = te.reduce_axis((0, kernel.key_words), name="n")
    mixed = te.compute(
        (*extents, where.padded_size),
        lambda b, h, m, j: te.sum(_dot(kernel, weights[b, h, n, m], values[b, h, n, j]), axis=n),
        name="mixed",
    )
    offset = _offset(kernel, values, "weight_offset") if kernel.weight_offset else None
    stored = WORD * kernel.key_words * kernel.weight_offset

    def mean(b: Any, h: Any, m: Any, j: Any) -> Any:
        products = mixed(b, h, m, j) if offset is None else mixed(b, h, m, j) - offset(b, h, j)
        share = products.astype("float32") / (total[b, h, m] + stored).astype("float32")
        return kernel.requantize(share, value_multiplier[h, j])

    means = te.compute(mixed.shape, mean, name="mean")
    return te.compute(
        (where.batch, where.queries, where.heads, where.value_heads.size),
        lambda b, m, h, j: means[b, h, m, j],
        name="result",
    )


def _dot(kernel: QuantizedAttention, x: Expression, w: Expression) -> Expression:
    return dot(kernel.dot_product, x, w, tirx.const(0, "int32"))


def _signed(kernel: QuantizedAttention, byte: Expression) -> Expression:
    """The byte less the middle of its type."""
    return byte ^ tirx.const(_SIGN, "uint8") if kernel.requantize.dtype == "uint8" else byte


def _scores(kernel: QuantizedAttention, query: Any, key: Any, multiplier: Any, bias: Any) -> Any:
    """The scores as (B, heads, N, M rounded up to whole tasks)."""
    where = kernel.attention
    at_query, at_key, keys = where.query_heads, where.key_heads, where.keys
    images, rows, columns = (where.batch, where.heads), where.padded_queries, where.score_tile.columns
    size, words = at_query.size, -(-at_query.size // WORD)
    last = int(key.shape[2]) - 1

    zero = tirx.const(0, kernel.requantize.dtype)

    def query_byte(b: Any, h: Any, c: Any, m: Any) -> Any:
        channel = at_query.offset + h * at_query.stride + (c if size % WORD == 0 else tirx.min(c, size - 1))
        # Queries beyond the last repeat it: their results are never stored.
        byte = _signed(kernel, query(b, tirx.min(m, where.queries - 1), channel))
        # Zeros after the last channel, where the key's word has any others.
        return byte if size % WORD == 0 else tirx.Select(c < size, byte, zero)

    def key_byte(b: Any, h: Any, c: Any, n: Any) -> Any:
        channel = at_key.offset + h * at_key.stride + c
        return key[b, tirx.min(n, keys - 1), channel if size % WORD == 0 else tirx.min(channel, last)]

    queries = te.compute(
        (*images, words, rows),
        lambda b, h, k, m: word(lambda i: query_byte(b, h, WORD * k + i, m)),
        name="queries",
    )
    k = te.reduce_axis((0, words), name="k")
    product = te.compute(
        (*images, round_up(keys, where.score_tile.rows), rows),
        lambda b, h, n, m: te.sum(
            _dot(kernel, word(lambda i: key_byte(b, h, WORD * k + i, n)), queries[b, h, k, m]), axis=k
        ),
        name="product",
    )
    offset = _offset(kernel, queries, "key_offset") if kernel.key_offset else None
    none = tirx.const(0.0, "float32")

    def score(b: Any, h: Any, n: Any, m: Any) -> Any:
        products = product(b, h, n, m) if offset is None else product(b, h, n, m) - offset(b, h, m)
        addend = none if bias is None else bias[h, m // columns, n, m % columns]
        return fused_multiply_add(products.astype("float32"), multiplier[h], addend)

    return te.compute((*images, keys, rows), score, name="scores")


def _offset(kernel: QuantizedAttention, words: Any, name: str) -> Any:
    """What the offset of the other factor adds to sums over `words` (B, heads, K, columns): (B, heads, columns)."""
    b, h, k, j = words.shape
    k = te.reduce_axis((0, k), name="k")
    # Four times the byte that is 128 without a sign and -128 with one.
    offsets = tirx.const(-0x7F7F7F80, "int32")
    return te.compute(
        (b, h, j), lambda b, h, j: te.sum(_dot(kernel, offsets, words[b, h, k, j]), axis=k), name=name
    )


def _weights(kernel: QuantizedAttention, scores: Any, extents: tuple[int, ...]) -> Any:
    """The weights as words (B, heads, N / 4, M); none for keys after the last."""
    keys = kernel.attention.keys
    n = te.reduce_axis((0, keys), name="n")
    maximum = te.compute(extents, lambda b, h, m: te.max(scores[b, h, n, m], axis=n), name="maximum")
    largest, zero = tirx.const(float(LARGEST_WEIGHT), "float32"), tirx.const(0, "int32")

    def weight(b: Any, h: Any, n: Any, m: Any) -> Any:
        near = tirx.exp(scores[b, h, tirx.min(n, keys - 1), m] - maximum[b, h, m])
        whole = rounded(largest * near)
        if keys % WORD:
            whole = tirx.if_then_else(n < keys, whole, zero)
        return whole - kernel.weight_offset

    return te.compute(
        (*extents[:2], kernel.key_words, extents[2]),
        lambda b, h, n, m: word(lambda i: weight(b, h, WORD * n + i, m)),
        name="weights",
    )


def _values(kernel: QuantizedAttention, value: Any) -> Any:
    """v as words of four keys (B, heads, N / 4, value size in whole vectors), zeros in the channels that pad."""
    where = kernel.attention
    at_value = where.value_heads

    def byte(b: Any, h: Any, n: Any, j: Any) -> Any:
        # Keys after the last have no weight.
        channel = at_value.offset + h * at_value.stride + j
        return _signed(kernel, value(b, tirx.min(n, where.keys - 1), channel))

    return te.compute(
        (where.batch, where.heads, kernel.key_words, where.padded_size),
        lambda b, h, n, j: tirx.if_then_else(
            j < at_value.size, word(lambda i: byte(b, h, WORD * n + i, j)), tirx.const(0, "int32")
        ),
        name="values",
    )
