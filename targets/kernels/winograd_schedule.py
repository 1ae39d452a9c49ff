"""The schedule of winograd.py: tasks of rows of tiles, transforms in registers, the matrix products between them."""

from typing import Any

from lwc.targets.kernels.conv2d import vectorize_channels
from lwc.targets.kernels.gemm import unroll_tile
from lwc.targets.kernels.prefetch import prefetch_rows
from lwc.targets.kernels.tiling import largest_divisor, store_lanes
from lwc.targets.kernels.winograd import PIXELS, RESULTS, Winograd
from lwc.tvm_api import Schedule


def schedule(sch: Schedule, kernel: Winograd) -> None:
    """Tasks, transforms and register tiles for the function that `compute` gave."""
    task = _schedule_result(sch, kernel)
    _schedule_products(sch, kernel, task)
    _schedule_pixels(sch, kernel, task)
    padded = sch.get_sblock("padded")
    sch.compute_at(padded, task, preserve_unit_loops=True)
    vectorize_channels(sch, padded, kernel.channels, kernel.tile.lanes)


def _schedule_result(sch: Schedule, kernel: Winograd) -> Any:
    """The products with A; the loop over the tasks."""
    lanes = store_lanes(kernel.outputs, kernel.tile.lanes)
    result, sums = sch.get_sblock("result"), sch.get_sblock("sums")
    n, h, w, o = sch.get_loops(result)
    block, row, y = sch.split(h, [None, kernel.row_block, RESULTS])
    column, x = sch.split(w, [None, RESULTS])
    vector, lane = sch.split(o, [None, lanes])
    sch.reorder(n, block, row, column, vector, y, x, lane)
    task = sch.fuse(n, block)
    sch.parallel(task)
    sch.vectorize(lane)
    sch.unroll(x)
    sch.unroll(y)
    sch.compute_at(sums, y, preserve_unit_loops=True)
    _unroll_transform(sch, sums, lanes)
    return task


def _schedule_products(sch: Schedule, kernel: Winograd, task: Any) -> None:
    tile = kernel.tile
    products, product = sch.get_sblock("products"), sch.get_sblock("product")
    sch.compute_at(products, task, preserve_unit_loops=True)
    a, b, i, o = sch.get_loops(products)[-4:]
    row_tile, row = sch.split(i, [None, tile.rows])
    panel, column = sch.split(o, [None, tile.columns])
    sch.reorder(a, b, panel, row_tile, row, column)
    sch.compute_at(product, row_tile, preserve_unit_loops=True)
    unroll_tile(sch, [row, column], tile.lanes)
    row, column, k = sch.get_loops(product)[-3:]
    sch.reorder(k, row, column)
    unroll_tile(sch, [row, column], tile.lanes)
    prefetch_rows(sch, k, tile.columns, PIXELS**2 * kernel.channels * kernel.padded_columns)
    sch.decompose_reduction(product, k)


def _schedule_pixels(sch: Schedule, kernel: Winograd, task: Any) -> None:
    lanes = largest_divisor(kernel.channels, kernel.tile.lanes)
    pixels, lines = sch.get_sblock("pixels"), sch.get_sblock("lines")
    sch.compute_at(pixels, task, preserve_unit_loops=True)
    a, b, r, s, c = sch.get_loops(pixels)[-5:]
    vector, lane = sch.split(c, [None, lanes])
    sch.reorder(r, s, vector, a, b, lane)
    sch.vectorize(lane)
    sch.unroll(b)
    sch.unroll(a)
    sch.compute_at(lines, a, preserve_unit_loops=True)
    _unroll_transform(sch, lines, lanes)


def _unroll_transform(sch: Schedule, block: Any, lanes: int) -> None:
    """The loops (place, place, row, column, channel) of a product with a small matrix, all of them unrolled."""
    *places, channel = sch.get_loops(block)[-5:]
    vector, lane = sch.split(channel, [None, lanes])
    sch.vectorize(lane)
    for loop in (*places, vector):
        sch.unroll(loop)
