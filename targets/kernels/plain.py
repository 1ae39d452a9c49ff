"""The schedule of every function that has no template: element-wise chains, copies, reductions, softmax.

Element-wise chains are computed in one pass. Reductions that feed the last loop nest (the maximum and the sum of a
softmax) are computed inside it, row by row, so that a row is read from
cache. The outer loops run in parallel and the innermost is vectorised where whole vectors divide it.
"""

import math
from typing import Any

from lwc.targets.target import Target
from lwc.tvm_api import Schedule, ScheduleError, tirx

# Below this much work a parallel launch costs more than it gains.
_PARALLEL_WORK = 8192


def schedule(sch: Schedule, target: Target) -> None:
    """Inline, nest, parallelise and vectorise the only function in `sch`."""
    _inline_chains(sch)
    last = _blocks(sch)[-1]
    outer = _nest_reductions(sch, last, target.float_lanes)
    nests = [(block, *_axes(sch, block)) for block in _blocks(sch)]
    if outer:
        _parallel(sch, last, outer)
    else:
        for block, spatial, reduced in nests:
            _parallel(sch, block, spatial if reduced and len(spatial) == 1 else spatial[:-1])
    for block, spatial, reduced in nests:
        _vectorize(sch, block, spatial, reduced, target.float_lanes)


def _blocks(sch: Schedule) -> list[Any]:
    """The blocks that compute something, in the order of the function."""
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def _is_reduction(axis: Any) -> bool:
    return bool(axis.iter_type == tirx.IterVar.CommReduce)


def _axes(sch: Schedule, block: Any) -> tuple[list[Any], list[Any]]:
    """The block's own loops: spatial ones, and those that it reduces over."""
    axes = list(sch.get(block).iter_vars)
    loops = list(sch.get_loops(block))
    axes = axes[max(0, len(axes) - len(loops)) :]
    loops = loops[len(loops) - len(axes) :]
    pairs = list(zip(loops, axes, strict=True))
    spatial = [loop for loop, axis in pairs if not _is_reduction(axis)]
    return spatial, [loop for loop, axis in pairs if _is_reduction(axis)]


def _inline_chains(sch: Schedule) -> None:
    for block in _blocks(sch)[:-1]:
        if not _axes(sch, block)[1]:
            _attempt(sch.compute_inline, block)


def _attempt(primitive: Any, *arguments: Any) -> bool:
    """Whether TVM took the step; it refuses, among others, to inline or move what is an output."""
    try:
        primitive(*arguments)
    except ScheduleError:
        return False
    return True


def _nest_reductions(sch: Schedule, last: Any, lanes: int) -> list[Any]:
    """Compute the reductions before `last` inside its loops; returns the loops around them, none if none moved."""
    reductions = [block for block in _blocks(sch)[:-1] if _axes(sch, block)[1]]
    spatial, reduced = _axes(sch, last)
    if not reductions or reduced or not spatial:
        return []
    keeps_last_axis = len(_axes(sch, reductions[-1])[0]) == len(spatial)
    if keeps_last_axis:
        size = math.gcd(int(sch.get(spatial[-1]).extent), 2 * lanes)
        spatial[-1:] = sch.split(spatial[-1], [None, size])
    if len(spatial) < 2:
        return []
    feeding = [block for block in reversed(_blocks(sch)) if not sch.get(block).same_as(sch.get(last))]
    moved = [_attempt(sch.compute_at, block, spatial[-2], True) for block in feeding]
    return spatial[:-1] if all(moved) else []


def _vectorize(sch: Schedule, block: Any, spatial: list[Any], reduced: list[Any], lanes: int) -> None:
    """Vectorise the last spatial axis where whole vectors divide it, inside any reduction."""
    if not spatial or lanes == 1 or (reduced and len(spatial) == 1):
        return
    if int(sch.get(spatial[-1]).extent) % lanes:
        return
    outer, lane = sch.split(spatial[-1], [None, lanes])
    if reduced:
        sch.reorder(outer, *reduced, lane)
    sch.vectorize(lane)
    if reduced:
        sch.decompose_reduction(block, reduced[0])


def _parallel(sch: Schedule, block: Any, loops: list[Any]) -> None:
    work = math.prod(int(sch.get(loop).extent) for loop in sch.get_loops(block))
    if loops and work >= _PARALLEL_WORK:
        sch.parallel(sch.fuse(*loops) if len(loops) > 1 else loops[0])
