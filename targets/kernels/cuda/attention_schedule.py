"""The schedule of attention.py: blocks of warps, a warp's lanes, and what lies in shared memory."""

from typing import Any

from lwc.targets.kernels.cuda.attention import Attention
from lwc.tvm_api import Schedule


def schedule(sch: Schedule, kernel: Attention) -> None:
    """Blocks, warps and shared memory for the function that `compute` gave."""
    lane = _schedule_result(sch, kernel)
    _schedule_weights(sch, kernel, lane)
    _schedule_scores(sch, kernel, lane)


def _schedule_result(sch: Schedule, kernel: Attention) -> Any:
    """The product with the values, and what divides it; the loop over the lanes of a warp."""
    mixed, mean, result, total = (sch.get_sblock(name) for name in ("mixed", "mean", "result", "total"))
    b, h, m, j = sch.get_loops(mean)
    block, warp, row = sch.split(m, [None, kernel.warps, kernel.warp_queries])
    lane, channel = sch.split(j, [kernel.warp, None])
    sch.reorder(b, h, block, warp, lane, row, channel)
    sch.bind(sch.fuse(b, h, block), "blockIdx.x")
    sch.bind(warp, "threadIdx.y")
    sch.bind(lane, "threadIdx.x")
    sch.set_scope(mean, 0, "local")
    sch.reverse_compute_at(result, lane, preserve_unit_loops=True)
    for loop in sch.get_loops(result)[-3:]:
        sch.unroll(loop)
    sch.compute_at(mixed, lane, preserve_unit_loops=True)
    sch.set_scope(mixed, 0, "local")
    row_of_sum, channel_of_sum, i, key = sch.get_loops(mixed)[-4:]
    step, key = sch.split(key, [None, 4])
    sch.reorder(i, step, key, channel_of_sum, row_of_sum)
    for loop in (row, channel, key, channel_of_sum, row_of_sum):
        sch.unroll(loop)
    sch.decompose_reduction(mixed, i)
    sch.compute_at(total, lane, preserve_unit_loops=True)
    _reduce_across_lanes(sch, total)
    return lane


def _schedule_weights(sch: Schedule, kernel: Attention, lane: Any) -> None:
    """The exponentials of the scores, and the maximum before them."""
    weights, maximum = sch.get_sblock("weights"), sch.get_sblock("maximum")
    sch.set_scope(weights, 0, "shared")
    sch.compute_at(weights, lane, preserve_unit_loops=True)
    m, _, thread = sch.get_loops(weights)[-3:]
    warp, row = sch.split(m, [kernel.warps, None])
    sch.bind(warp, "threadIdx.y")
    sch.bind(thread, "threadIdx.x")
    sch.unroll(row)
    sch.compute_at(maximum, warp, preserve_unit_loops=True)
    _reduce_across_lanes(sch, maximum)


def _reduce_across_lanes(sch: Schedule, block: Any) -> None:
    """Each lane takes keys of its own; TVM gives what they make together, in registers, to all of them."""
    sch.set_scope(block, 0, "local")
    row, _, lane = sch.get_loops(block)[-3:]
    sch.unroll(row)
    sch.bind(lane, "threadIdx.x")


def _schedule_scores(sch: Schedule, kernel: Attention, lane: Any) -> None:
    """The product of queries and keys, a chunk of these at a time."""
    scores, product, queries, keys = (
        sch.get_sblock(name) for name in ("scores", "product", "queries", "keys")
    )
    for block in (scores, queries, keys):
        sch.set_scope(block, 0, "shared")
    sch.set_scope(product, 0, "local")
    sch.compute_at(scores, lane, preserve_unit_loops=True)
    m, i, thread = sch.get_loops(scores)[-3:]
    warp, row = sch.split(m, [kernel.warps, None])
    chunk, each = sch.split(i, [None, kernel.lane_keys])
    sch.reorder(chunk, warp, thread, row, each)
    sch.bind(warp, "threadIdx.y")
    sch.bind(thread, "threadIdx.x")
    sch.compute_at(product, thread, preserve_unit_loops=True)
    row_of_product, each_of_product, _, k = sch.get_loops(product)[-4:]
    sch.reorder(k, row_of_product, each_of_product)
    for loop in (row, each, row_of_product, each_of_product):
        sch.unroll(loop)
    sch.decompose_reduction(product, k)
    for fetched, place in ((keys, chunk), (queries, lane)):
        sch.compute_at(fetched, place, preserve_unit_loops=True)
        _fetch_together(sch, kernel, fetched)
    # Lanes that read the same channel of neighbouring keys would otherwise find them in the same banks.
    sch.storage_align(keys, 0, -2, 2, 1)


def _fetch_together(sch: Schedule, kernel: Attention, block: Any) -> None:
    """Spread a copy to shared memory over the threads of the block."""
    fused = sch.fuse(*sch.get_loops(block)[-2:])
    _, warp, thread = sch.split(fused, [None, kernel.warps, kernel.warp])
    sch.bind(warp, "threadIdx.y")
    sch.bind(thread, "threadIdx.x")
