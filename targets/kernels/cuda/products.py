"""Tiled matrix products on a GPU: on tensor cores where they multiply its numbers, else number by number."""

from collections.abc import Callable
from typing import Any

from lwc.targets.gpu import Gpu
from lwc.targets.kernels.cuda.block_tile import (
    BlockTile,
    block_tile,
    lanes_of,
    schedule_tile_product,
    tile_product,
)
from lwc.targets.kernels.cuda.tensor_tile import (
    TensorTile,
    has_tensor_cores,
    schedule_tensor_product,
    tensor_product,
    tensor_tile,
)
from lwc.tvm_api import Schedule

Tile = BlockTile | TensorTile


def product_tile(rows: int, inner: int, columns: int, gpu: Gpu, batch: int = 1) -> Tile:
    """The tile for `batch` products of `rows` x `inner` and `inner` x `columns`."""
    plan = tensor_tile if has_tensor_cores(gpu) else block_tile
    return plan(rows, inner, columns, gpu, batch)


def product(
    tile: Tile, extents: tuple[int, int, int, int], left: Callable[..., Any], right: Callable[..., Any]
) -> Any:
    """The product of `tile_product`, in float32, of operands of either type."""
    if isinstance(tile, TensorTile):
        return tensor_product(tile, extents, left, right)
    return tile_product(
        tile, extents, lambda *at: left(*at).astype("float32"), lambda *at: right(*at).astype("float32")
    )


def schedule_product(
    sch: Schedule,
    tile: Tile,
    left_extent: int,
    right_extent: int,
    store_extent: int,
    left_by_rows: bool = False,
) -> None:
    """Blocks, threads and shared memory for `product` and the stage `result` (batch, rows, columns) after it.

    The extents are how many neighbours lie side by side in memory: of k in the left operand, or of its rows where
    `left_by_rows` says so, of columns in the right operand, and in the result.
    """
    if isinstance(tile, TensorTile):
        schedule_tensor_product(sch, tile, left_extent, right_extent, store_extent, left_by_rows)
    else:
        schedule_tile_product(sch, tile, lanes_of(left_extent), lanes_of(store_extent), left_by_rows)
