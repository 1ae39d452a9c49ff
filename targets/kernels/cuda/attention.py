"""Softmax attention on a GPU: a block of threads takes some queries of one head, and keeps all their scores.

Each warp has queries of its own. Its lanes take neighbouring keys for the scores, and neighbouring channels for the
result. Keys come through shared memory for all warps, a chunk at a time; the weights that a warp computes lie there for
its lanes. Queries and keys are rounded up to whole blocks and chunks: no thread leaves the others at a barrier.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.errors import UnsupportedError
from lwc.targets.gpu import Gpu
from lwc.targets.kernels.attention import Heads
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.kernels.tiling import round_up
from lwc.targets.target import Target
from lwc.tvm_api import te, tirx

# Warps of a block, and queries of a warp, from the most to the least.
_BLOCKS = ((4, 4), (4, 2), (4, 1), (2, 1), (1, 1))
# For a chunk of keys in shared memory, where more than one key a lane is taken.
_CHUNK_BYTES = 12 * 1024
LOWEST = float(np.finfo(np.float32).min)


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
    dtype: str  # of what it reads and gives
    warp: int  # threads
    warps: int  # of a block
    warp_queries: int
    lane_keys: int  # in a chunk

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, of both products."""
        sizes = self.query_heads.size + self.value_heads.size
        return self.batch * self.heads * self.queries * self.keys * sizes

    @property
    def block_queries(self) -> int:
        """The queries of a block."""
        return self.warps * self.warp_queries

    @property
    def chunk(self) -> int:
        """The keys that are in shared memory at a time."""
        return self.warp * self.lane_keys

    @property
    def padded_keys(self) -> int:
        """`keys` rounded up to whole chunks."""
        return round_up(self.keys, self.chunk)

    @property
    def blocks(self) -> int:
        """Blocks of threads."""
        return self.batch * self.heads * -(-self.queries // self.block_queries)

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block: queries, a chunk of keys, and scores; the weights take the place of these."""
        size = self.query_heads.size
        rows = self.block_queries * (size + self.padded_keys)
        return 4 * (rows + self.chunk * (size + 1))


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
    """The kernel for `heads` of each of `batch` images; `target` has a GPU.

    Raises UnsupportedError where the scores of a query take more than a block's shared memory.
    """
    gpu = target.gpu
    assert gpu is not None
    one_each = 4 * gpu.warp * (query_heads.size + 1)
    lane_keys = next((n for n in (4, 2) if one_each * n <= _CHUNK_BYTES and gpu.warp * n < 2 * keys), 1)
    blocks = [
        Attention(
            *(batch, heads, queries, keys, query_heads, key_heads, value_heads, scale, biased, epilogue),
            *(gpu.numbers, gpu.warp, warps, warp_queries, lane_keys),
        )
        for warps, warp_queries in _BLOCKS
    ]
    return _best_block(blocks, gpu)


def _best_block(blocks: list[Attention], gpu: Gpu) -> Attention:
    """The first, with the most queries to share what is read of the keys, that leaves no multiprocessor idle."""
    fitting = [kernel for kernel in blocks if kernel.shared_bytes <= gpu.shared_bytes]
    if not fitting:
        least = blocks[-1]
        raise UnsupportedError(
            f"attention over {least.keys} keys: {least.shared_bytes} bytes of shared memory, of {gpu.shared_bytes}; "
            "use a smaller image"
        )
    # Fewer warps hide less latency: they are for more keys than the queries of four find room for.
    whole = [kernel for kernel in fitting if kernel.warps == fitting[0].warps]
    return next((kernel for kernel in whole if kernel.blocks >= gpu.multiprocessors), whole[-1])


def pack(kernel: Attention, bias: NDArray[np.float32]) -> NDArray[Any]:
    """Bias (heads, M, N) in the kernel's order, which is the same."""
    return np.ascontiguousarray(bias, kernel.dtype)


def compute(kernel: Attention, query: Any, key: Any, value: Any, bias: Any = None) -> Any:
    """The tensor expression; query (B, M, Cq), key (B, N, Ck), value (B, N, Cv), bias (heads, M, N).

    The result is (B, M, heads, value size).
    """
    scores = _scores(kernel, query, key, bias)
    rows = tuple(scores.shape[:3])

    def over_keys(name: str, reduce: Any, of: Any) -> Any:
        """What `reduce` makes of all keys of the tensor `of`."""
        axes = [te.reduce_axis((0, extent), name="n") for extent in of.shape[3:]]
        return te.compute(rows, lambda b, h, m: reduce(of[(b, h, m, *axes)], axis=axes), name=name)

    maximum = over_keys("maximum", te.max, scores)
    weights = te.compute(
        scores.shape,
        lambda b, h, m, i, lane: tirx.exp(scores[b, h, m, i, lane] - maximum[b, h, m]),
        name="weights",
    )
    total = over_keys("total", te.sum, weights)
    mixed = _mixed(kernel, weights, value)
    mean = te.compute(
        mixed.shape,
        lambda b, h, m, j: kernel.epilogue(mixed[b, h, m, j] / total[b, h, m]),
        name="mean",
    )
    return te.compute(
        (kernel.batch, kernel.queries, kernel.heads, kernel.value_heads.size),
        lambda b, m, h, j: mean[b, h, m, j].astype(query.dtype),
        name="result",
    )


def _scores(kernel: Attention, query: Any, key: Any, bias: Any) -> Any:
    """scale * q k^T + bias as (B, heads, M, N / lanes, lanes), both rounded up; keys that pad have the lowest score.

    The lanes of a warp are an axis of their own: TVM would compute what lies between two elements of a lane, too.
    """
    at_query, at_key = kernel.query_heads, kernel.key_heads
    images, rows = (kernel.batch, kernel.heads), round_up(kernel.queries, kernel.block_queries)
    last_query, last_key = kernel.queries - 1, kernel.keys - 1
    scale = tirx.const(kernel.scale, "float32")
    queries = te.compute(
        (*images, rows, at_query.size),
        # Queries beyond the last repeat it: their results are never stored.
        lambda b, h, m, k: (
            scale
            * query[b, tirx.min(m, last_query), at_query.offset + h * at_query.stride + k].astype("float32")
        ),
        name="queries",
    )
    keys = te.compute(
        (*images, kernel.padded_keys, at_key.size),
        lambda b, h, n, k: key[b, tirx.min(n, last_key), at_key.offset + h * at_key.stride + k].astype(
            "float32"
        ),
        name="keys",
    )
    k = te.reduce_axis((0, at_query.size), name="k")
    warp = kernel.warp
    product = te.compute(
        (*images, rows, kernel.padded_keys // warp, warp),
        lambda b, h, m, i, lane: te.sum(queries[b, h, m, k] * keys[b, h, i * warp + lane, k], axis=k),
        name="product",
    )

    def score(b: Any, h: Any, m: Any, i: Any, lane: Any) -> Any:
        value, n = product[b, h, m, i, lane], i * warp + lane
        if bias is not None:
            value = value + bias[h, tirx.min(m, last_query), tirx.min(n, last_key)].astype("float32")
        if kernel.padded_keys == kernel.keys:
            return value
        return tirx.Select(n < kernel.keys, value, tirx.const(LOWEST, "float32"))

    return te.compute(product.shape, score, name="scores")


def _mixed(kernel: Attention, weights: Any, value: Any) -> Any:
    """The weighted sums of v as (B, heads, M, value size), rounded up; channels that pad repeat the last."""
    where = kernel.value_heads
    i, lane = (te.reduce_axis((0, extent), name="n") for extent in weights.shape[3:])
    n = tirx.min(i * kernel.warp + lane, kernel.keys - 1)

    def element(b: Any, h: Any, j: Any) -> Any:
        return value[b, n, where.offset + h * where.stride + tirx.min(j, where.size - 1)].astype("float32")

    return te.compute(
        (*weights.shape[:3], round_up(where.size, kernel.warp)),
        lambda b, h, m, j: te.sum(weights[b, h, m, i, lane] * element(b, h, j), axis=[i, lane]),
        name="mixed",
    )
