"""Matrix products on the tensor cores of a GPU: float16 times float16, summed in float32.

As in `block_tile.py` a block goes through K in chunks in shared memory. Each of its warps multiplies tiles of 16 x 16
(`warp_tile.py`), whose sums leave through shared memory for the threads that finish the results.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lwc.targets.gpu import Gpu
from lwc.targets.kernels.cuda.block_tile import fetch_ahead, fetch_together, tile_product
from lwc.targets.kernels.cuda.warp_tile import LEFT, RIGHT, SIDE, SUM, replace_loops
from lwc.targets.kernels.tiling import round_up
from lwc.tvm_api import Schedule, te

# Of float16 values in one load.
_LANES = 8
# Of float32 values in one load of sums.
_SUM_LANES = 4
_CHUNK = 32
_THREADS_TO_HIDE_LATENCY = 256
# While a multiprocessor fetches one value from global memory, it multiplies so many pairs; an estimate.
_FETCH = 64


@dataclass(frozen=True)
class TensorTile:
    """`rows` x `columns` results of a block of `warp_rows` x `warp_columns` warps, `chunk` of K at a time."""

    rows: int
    columns: int
    warp_rows: int
    warp_columns: int
    chunk: int = _CHUNK
    warp: int = 32  # threads

    @property
    def warps(self) -> int:
        """In a block."""
        return self.warp_rows * self.warp_columns

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of 16 x 16 tiles that a warp multiplies."""
        return self.rows // (SIDE * self.warp_rows), self.columns // (SIDE * self.warp_columns)

    @property
    def sum_padding(self) -> int:
        """Unused sums at the end of each row: so neighbouring rows begin in other banks.

        TVM would put sums that take no more than an operand's chunk in its place, but refuses their other type then.
        """
        return 4 if min(self.rows, self.columns) > SIDE else 12

    @property
    def shared_bytes(self) -> int:
        """What a block takes: a chunk of both operands, and the sums."""
        operands = self.rows * (self.chunk + _LANES) + self.chunk * (self.columns + _LANES)
        return 2 * operands + 4 * self.rows * (self.columns + self.sum_padding)


# The most rows and columns of which the sums, too, find room in shared memory.
SHAPES = (
    *((64, 128, 2, 4), (128, 64, 4, 2), (64, 64, 2, 2), (128, 32, 4, 1), (64, 32, 2, 1)),
    *((32, 128, 1, 4), (32, 64, 1, 2), (32, 32, 2, 1), (16, 128, 1, 4), (16, 64, 1, 4), (16, 32, 1, 2)),
    *((128, 16, 4, 1), (64, 16, 4, 1), (32, 16, 2, 1), (16, 16, 1, 1)),
)


def has_tensor_cores(gpu: Gpu) -> bool:
    """Whether products of the numbers of `gpu` have instructions for warps (float16 from compute capability 7.5)."""
    return gpu.numbers == "float16" and gpu.capability >= (7, 5)


def tensor_tile(rows: int, inner: int, columns: int, gpu: Gpu, batch: int = 1) -> TensorTile:
    """The tile for `batch` products of `rows` x `inner` and `inner` x `columns`."""
    chunk = SIDE if round_up(inner, SIDE) % _CHUNK and inner <= 3 * SIDE else _CHUNK
    tiles = [TensorTile(*shape, chunk, gpu.warp) for shape in SHAPES]
    fitting = [tile for tile in tiles if tile.shared_bytes <= gpu.shared_bytes]
    return min(fitting, key=lambda tile: _cost(tile, rows, columns, gpu, batch))


def _cost(tile: TensorTile, rows: int, columns: int, gpu: Gpu, batch: int) -> float:
    """Relative time: the results of the busiest multiprocessor, and what is loaded for each."""
    blocks = batch * -(-rows // tile.rows) * -(-columns // tile.columns)
    tile_rows, tile_columns = tile.tiles
    loads = (tile_rows + tile_columns) / (tile_rows * tile_columns)
    fetches = (tile.rows + tile.columns) / (tile.rows * tile.columns)
    waves = -(-blocks // gpu.multiprocessors)
    useful = batch * rows * columns / (blocks * tile.rows * tile.columns)
    busy = min(1.0, waves * useful * tile.warps * tile.warp / _THREADS_TO_HIDE_LATENCY)
    return waves * tile.rows * tile.columns * (1 + loads + _FETCH * fetches) / busy


def tensor_product(
    tile: TensorTile, extents: tuple[int, int, int, int], left: Callable[..., Any], right: Callable[..., Any]
) -> Any:
    """The stages of `block_tile.tile_product` for float16 operands, and `sums` after them, in float32."""
    product = tile_product(
        tile,
        extents,
        left,
        right,
        lambda x, w: x.astype("float32") * w.astype("float32"),
        "float16",
    )
    return te.compute(product.shape, lambda b, i, j: product[b, i, j], name="sums")


def schedule_tensor_product(
    sch: Schedule,
    tile: TensorTile,
    left_extent: int,
    right_extent: int,
    store_extent: int,
    left_by_rows: bool = False,
) -> None:
    """Blocks, warps and shared memory for `tensor_product` and the stage `result` (batch, rows, columns) after it.

    The operands are as for `block_tile.schedule_tile_product`, but as many neighbours may lie side by side as divide
    `left_extent`, `right_extent` and `store_extent`.
    """
    product, sums, result = (sch.get_sblock(name) for name in ("product", "sums", "result"))
    tile_rows, tile_columns = tile.tiles
    b, i, j, k = sch.get_loops(product)
    block_row, warp_row, tile_row, row = sch.split(i, [None, tile.warp_rows, tile_rows, SIDE])
    block_column, warp_column, tile_column, column = sch.split(
        j, [None, tile.warp_columns, tile_columns, SIDE]
    )
    chunk, step, part = sch.split(k, [None, tile.chunk // SIDE, SIDE])
    outer = (b, block_column, block_row, warp_row, warp_column, chunk, step, tile_row, tile_column)
    sch.reorder(*outer, row, column, part)
    sch.bind(sch.fuse(b, block_column, block_row), "blockIdx.x")
    warp = sch.fuse(warp_row, warp_column)
    sch.bind(warp, "threadIdx.y")
    sch.set_scope(product, 0, SUM)
    _schedule_results(sch, tile, warp, sums, result, math.gcd(store_extent, _SUM_LANES))
    lanes = (math.gcd(left_extent, _LANES), math.gcd(right_extent, _LANES))
    _fetch(sch, tile, chunk, lanes, left_by_rows)
    _load_tiles(sch, product, step)
    for loop in (step, tile_row, tile_column):
        sch.unroll(loop)
    zero = sch.decompose_reduction(product, chunk)
    for loop in sch.get_loops(zero)[-4:-2]:
        sch.unroll(loop)
    replace_loops(sch, sch.get_loops(zero)[-2], "zero")
    replace_loops(sch, row, "multiply")
    if int(sch.get(chunk).extent) > 1:
        fetch_ahead(sch, chunk, (sch.get_sblock("left"), sch.get_sblock("right")))


def _fetch(sch: Schedule, tile: TensorTile, chunk: Any, lanes: tuple[int, int], left_by_rows: bool) -> None:
    """A chunk of both operands into shared memory, so many neighbours of each at a time."""
    for name, together in zip(("left", "right"), lanes, strict=True):
        block = sch.get_sblock(name)
        sch.set_scope(block, 0, "shared")
        sch.compute_at(block, chunk, preserve_unit_loops=True)
        turned = left_by_rows and name == "left"
        fetch_together(sch, block, together, {"threadIdx.y": tile.warps, "threadIdx.x": tile.warp}, turned)
        # Neighbouring rows of a tile would otherwise begin in the same banks.
        sch.storage_align(block, 0, -2, SIDE, _LANES)


def _load_tiles(sch: Schedule, product: Any, step: Any) -> None:
    """The tiles of a warp for one step, from shared memory into its registers."""
    for number, (scope, name) in enumerate(((LEFT, "load_left"), (RIGHT, "load_right"))):
        block = sch.cache_read(product, number, scope)
        sch.compute_at(block, step, preserve_unit_loops=True)
        replace_loops(sch, _in_tiles(sch, block), name)


def _schedule_results(sch: Schedule, tile: TensorTile, warp: Any, sums: Any, result: Any, lanes: int) -> None:
    """The sums of a warp's tiles go into shared memory, whence its threads finish them."""
    sch.set_scope(sums, 0, "shared")
    sch.reverse_compute_at(sums, warp, preserve_unit_loops=True)
    sch.reverse_compute_at(result, warp, preserve_unit_loops=True)
    _, thread, lane = sch.split(sch.fuse(*sch.get_loops(result)[-2:]), [None, tile.warp, lanes])
    sch.bind(thread, "threadIdx.x")
    sch.vectorize(lane)
    row = _in_tiles(sch, sums)
    replace_loops(sch, row, "store")
    sch.storage_align(sch.get_sblock("sums_o"), 0, -2, SIDE, tile.sum_padding)


def _in_tiles(sch: Schedule, block: Any) -> Any:
    """Go through what a warp computes in `block` tile by tile; the loop over the rows of one."""
    first, second = sch.get_loops(block)[-2:]
    tile_row, row = sch.split(first, [None, SIDE])
    tile_column, column = sch.split(second, [None, SIDE])
    sch.reorder(tile_row, tile_column, row, column)
    sch.unroll(tile_row)
    sch.unroll(tile_column)
    return row
