"""Matrix products on a GPU: a tile of results a block of threads, a smaller one in each thread's registers.

A block goes through K in chunks, which its threads fetch into shared memory together (the scheme of Volkov and Demmel,
"Benchmarking GPUs to tune dense linear algebra", SC 2008). What a template multiplies is its own affair: `tile_product`
takes a function that gives the elements of the left operand, and fetches them once for a block.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lwc.targets.gpu import Gpu
from lwc.targets.kernels.tiling import round_up
from lwc.tvm_api import Schedule, te, tirx

# Of float32 values in one load or store.
LANES = 4
# Of K, at least, that is fetched at a time.
_CHUNK = 16
_CHUNKS = (_CHUNK, 2 * _CHUNK)
# Of a multiprocessor.
_THREADS_TO_HIDE_LATENCY = 256
# A multiprocessor multiplies so many pairs while it fetches one value from global memory; an estimate.
FETCH = 8.0


@dataclass(frozen=True)
class BlockTile:
    """`rows` x `columns` results of a block, `thread_rows` x `thread_columns` of a thread, `chunk` of K at a time."""

    rows: int
    columns: int
    thread_rows: int
    thread_columns: int
    chunk: int

    @property
    def threads(self) -> int:
        """In a block."""
        return self.rows // self.thread_rows * (self.columns // self.thread_columns)


_SHAPES = (
    *((128, 64, 8, 4), (64, 128, 8, 4), (64, 64, 8, 4), (64, 64, 4, 4), (64, 32, 4, 4), (32, 64, 4, 4)),
    *((128, 32, 8, 4), (128, 16, 4, 4), (64, 16, 2, 4), (32, 32, 2, 4), (16, 64, 2, 4), (16, 32, 1, 4)),
    *((256, 8, 4, 4), (128, 8, 2, 4), (32, 16, 1, 4), (16, 16, 1, 4), (8, 64, 1, 4), (8, 32, 1, 4)),
)


def _fetched(tile: BlockTile) -> float:
    return FETCH


def block_tile(
    rows: int,
    inner: int,
    columns: int,
    gpu: Gpu,
    batch: int = 1,
    left: Callable[[BlockTile], float] = _fetched,
) -> BlockTile:
    """The tile for `batch` products of `rows` x `inner` and `inner` x `columns`.

    `left` is what an element of the left operand costs a block, in pairs that a multiprocessor multiplies meanwhile.
    """
    tiles = [BlockTile(*shape, _CHUNK) for shape in _SHAPES]
    tile = min(tiles, key=lambda tile: pairs_for_each_k(tile, rows, columns, gpu, batch, left(tile)))
    return replace(tile, chunk=_chunk(tile, inner, gpu))


def _chunk(tile: BlockTile, inner: int, gpu: Gpu) -> int:
    """How much of K to fetch at a time: what leaves room for other blocks, and few zeros beyond K."""
    if inner <= 2 * _CHUNK:
        return inner
    fitting = [
        chunk
        for chunk in _CHUNKS
        if 4 * chunk * (tile.rows + tile.columns) <= gpu.shared_bytes // 4
        and 8 * round_up(inner, chunk) <= 9 * round_up(inner, _CHUNK)
    ]
    return max(fitting, default=_CHUNK)


def pairs_for_each_k(
    tile: BlockTile, rows: int, columns: int, gpu: Gpu, batch: int = 1, left: float = FETCH
) -> float:
    """The time of a product for each k, in pairs that a multiprocessor multiplies; `left` as for `block_tile`.

    It counts the results of the busiest multiprocessor, and what is loaded for each from shared and global memory.
    """
    blocks = batch * -(-rows // tile.rows) * -(-columns // tile.columns)
    loads = (tile.thread_rows + tile.thread_columns) / (tile.thread_rows * tile.thread_columns)
    fetches = left / tile.columns + FETCH / tile.rows
    # A multiprocessor hides latency with several blocks' threads, and idles where it has few.
    waves = -(-blocks // gpu.multiprocessors)
    busy = min(1.0, waves * tile.threads / _THREADS_TO_HIDE_LATENCY)
    return waves * tile.rows * tile.columns * (1 + loads + fetches) / busy


class ChunkedTile(Protocol):
    """`rows` x `columns` results of a block, `chunk` of K at a time."""

    @property
    def rows(self) -> int: ...

    @property
    def columns(self) -> int: ...

    @property
    def chunk(self) -> int: ...


def tile_product(
    tile: ChunkedTile,
    extents: tuple[int, int, int, int],
    left: Callable[..., Any],
    right: Callable[..., Any],
    multiply: Callable[[Any, Any], Any] = operator.mul,
    dtype: str = "float32",
) -> Any:
    """The stages `left`, `right` and `product` of products of `extents` (batch, rows, inner, columns).

    `left(b, i, k)` and `right(b, k, j)` give the operands' elements, i and k within their extents; j goes up to whole
    tiles, i.e. the right operand is padded. `multiply` gives what two elements, of `dtype`, add to a sum. Gives the
    product (batch, rows, columns) rounded up to whole tiles.
    """
    batch, rows, inner, columns = extents
    padded_rows, padded_inner = round_up(rows, tile.rows), round_up(inner, tile.chunk)
    padded_columns = round_up(columns, tile.columns)

    def left_or_zero(b: Any, i: Any, k: Any) -> Any:
        # Rows beyond the last repeat it: their results are never stored.
        value = left(b, i if padded_rows == rows else tirx.min(i, rows - 1), k)
        if padded_inner == inner:
            return value
        return tirx.if_then_else(k < inner, value, tirx.const(0, dtype))

    chosen = te.compute((batch, padded_rows, padded_inner), left_or_zero, name="left")
    weights = te.compute((batch, padded_inner, padded_columns), right, name="right")
    k = te.reduce_axis((0, padded_inner), name="k")
    return te.compute(
        (batch, padded_rows, padded_columns),
        lambda b, i, j: te.sum(multiply(chosen[b, i, k], weights[b, k, j]), axis=k),
        name="product",
    )


def schedule_tile_product(
    sch: Schedule, tile: BlockTile, left_lanes: int, store_lanes: int, left_by_rows: bool = False
) -> None:
    """Blocks, threads and shared memory for `tile_product` and the stage `result` (batch, rows, columns) after it.

    `left_lanes` neighbouring k of the left operand lie side by side in memory, and `store_lanes` columns of the result.
    `left_by_rows`: neighbouring rows of the left operand lie side by side, not neighbouring k.
    """
    left, right, product, result = (sch.get_sblock(name) for name in ("left", "right", "product", "result"))
    b, i, j, k = sch.get_loops(product)
    block_row, thread_row, row = sch.split(i, [None, tile.rows // tile.thread_rows, tile.thread_rows])
    block_column, thread_column, column = sch.split(
        j, [None, tile.columns // tile.thread_columns, tile.thread_columns]
    )
    chunk, step = sch.split(k, [None, tile.chunk])
    sch.reorder(b, block_column, block_row, thread_row, thread_column, chunk, step, row, column)
    block = sch.fuse(b, block_column, block_row)
    thread = sch.fuse(thread_row, thread_column)
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    sch.set_scope(product, 0, "local")
    sch.reverse_compute_at(result, thread, preserve_unit_loops=True)
    _vectorize(sch, sch.get_loops(result)[-1], store_lanes)
    for fetched, lanes in ((left, left_lanes), (right, LANES)):
        # In this order: what is shared is fetched for all threads, not for each.
        sch.set_scope(fetched, 0, "shared")
        sch.compute_at(fetched, chunk, preserve_unit_loops=True)
        turned = left_by_rows and fetched is left
        fetch_together(sch, fetched, lanes, {"threadIdx.x": tile.threads}, turned)
    # Threads that read rows of their own would otherwise find them in the same banks.
    sch.storage_align(left, 0, -2, _CHUNK, LANES)
    for loop in (step, row, column):
        sch.unroll(loop)
    sch.decompose_reduction(product, chunk)
    if int(sch.get(chunk).extent) > 1:
        fetch_ahead(sch, chunk, (left, right))


def fetch_ahead(sch: Schedule, chunk: Any, fetched: tuple[Any, Any]) -> None:
    """Load the next chunk into registers before this one is multiplied, and store it in shared memory after that."""
    for block in fetched:
        sch.annotate(block, "tirx.manifest_shared_memory_local_stage", 1)
    # Of: load left, store left, load right, store right, multiply.
    sch.annotate(chunk, "software_pipeline_stage", [0, 0, 0, 0, 1])
    sch.annotate(chunk, "software_pipeline_order", [0, 3, 1, 4, 2])


def fetch_together(sch: Schedule, block: Any, lanes: int, threads: dict[str, int], turned: bool) -> None:
    """Spread the copy of a chunk over the threads of the block, `lanes` elements each at a time.

    `threads` gives their extents by axis, the axis of neighbours last; `turned`: neighbours are in the first axis of
    the chunk, not in the second.
    """
    batch, first, second = sch.get_loops(block)[-3:]
    if turned:
        sch.reorder(second, first)
        first, second = second, first
    fused = sch.fuse(batch, first, second)
    _, *parts, lane = sch.split(fused, [None, *threads.values(), lanes])
    for part, axis in zip(parts, threads, strict=True):
        sch.bind(part, axis)
    sch.vectorize(lane)


def _vectorize(sch: Schedule, loop: Any, lanes: int) -> None:
    _, lane = sch.split(loop, [None, lanes])
    sch.vectorize(lane)


def lanes_of(extent: int) -> int:
    """How many neighbouring elements one load takes of rows of `extent`."""
    return math.gcd(extent, LANES)
