"""The schedule of every function that has no template: element-wise chains, copies, reductions, softmax.

Each function is one launch. Chains are computed in registers, and the nests of several results become one grid. What
a result needs of a reduction is computed by its own thread where that is little work (the window of a pooling), and by
the threads of a block together where it is more: the maximum and the sum of a softmax, the mean of a map.
"""

from dataclasses import dataclass
from typing import Any

from lwc.errors import UnsupportedError
from lwc.targets.gpu import Gpu
from lwc.targets.kernels.cuda.blocks import (
    among,
    attempt,
    blocks,
    fused,
    loops,
    reduced_axes,
    results,
    steps,
)
from lwc.targets.kernels.cuda.vectors import LANES, moves_vectors
from lwc.targets.kernels.tiling import largest_divisor
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, tirx

# A thread sums up to so many numbers on its own.
_ALONE = 32
_BLOCK = 256


def schedule(sch: Schedule, target: Target) -> None:
    """Inline, nest and bind the only function in `sch`.

    Raises UnsupportedError for a function that cannot be one launch, and for a target without a GPU.
    """
    if target.gpu is None:
        raise UnsupportedError(
            f"target {target.name!r}: has no GPU; give one of those that `lwc targets` lists"
        )
    _keep_out_of_outputs(sch)
    for block in blocks(sch):
        if not among(sch, block, results(sch)) and not reduced_axes(sch, block):
            attempt(sch.compute_inline, block)
    team = _team(sch, target.gpu)
    if team is None or not attempt(_together, sch.copy(), team):
        _alone(sch, target.gpu)
    else:
        _together(sch, team)


def _keep_out_of_outputs(sch: Schedule) -> None:
    """Sum in registers, and read no output: what another block reads of one is computed again."""
    for block in results(sch):
        readers = list(sch.get_consumers(block))
        if reduced_axes(sch, block) or readers:
            for number in range(len(sch.get(block).writes)):
                sch.cache_write(block, number, "local", readers)


def _alone(sch: Schedule, gpu: Gpu) -> None:
    """A thread computes a result, or four, with all that they need."""
    outputs = results(sch)
    lanes = LANES if all(_in_vectors(sch, block, gpu) for block in outputs) else 1
    whole = [fused(sch, loops(sch, block)[0]) for block in outputs]
    most = max(steps(sch, [loop]) for loop in whole)
    threads = _block_threads(most // lanes, gpu)
    grid = -(-most // (threads * lanes))
    parts = [sch.split(loop, [grid, threads, lanes]) for loop in whole]
    block_loops = [part[0] for part in parts]
    sch.bind(block_loops[0] if len(parts) == 1 else sch.merge(*block_loops), "blockIdx.x")
    for _, thread, lane in parts:
        sch.bind(thread, "threadIdx.x")
        if lanes > 1:
            sch.vectorize(lane)
    _compute_at(sch, [part[1] for part in parts])


def _compute_at(sch: Schedule, places: list[Any]) -> None:
    """Compute what the results need inside one of the loops `places` each, in registers."""
    for block in reversed(_feeding(sch)):
        if not any(attempt(sch.compute_at, block, place, True) for place in places):
            name = sch.get(block).name_hint
            raise UnsupportedError(f"{name}: no single launch can compute it; give it one result alone")
        for number in range(len(sch.get(block).writes)):
            sch.set_scope(block, number, "local")


def _feeding(sch: Schedule) -> list[Any]:
    """The blocks before the results."""
    outputs = results(sch)
    return [block for block in blocks(sch) if not among(sch, block, outputs)]


def _in_vectors(sch: Schedule, block: Any, gpu: Gpu) -> bool:
    """Whether `block` alone fills the GPU with threads that move a vector each."""
    spatial, _ = loops(sch, block)
    enough = steps(sch, spatial) >= LANES * _BLOCK * gpu.multiprocessors
    return enough and not _feeding(sch) and moves_vectors(sch, block)


def _block_threads(work: int, gpu: Gpu) -> int:
    """The threads of a block: fewer where whole blocks would leave multiprocessors idle."""
    return next((n for n in (_BLOCK, _BLOCK // 2) if work >= n * gpu.multiprocessors), _BLOCK // 4)


@dataclass(frozen=True)
class _Team:
    """Threads of a block that compute what `rows` rows share.

    The loops over the rows, by number among the result's; `threads` divide a row among them, side by side in memory
    where `along` says so: the threads of different rows are side by side otherwise.
    """

    row_loops: tuple[int, ...]
    rows: int
    threads: int
    along: bool


def _team(sch: Schedule, gpu: Gpu) -> _Team | None:
    """The threads for the only result in `sch`; None where each result is to be computed alone."""
    outputs, feeding = results(sch), _feeding(sch)
    reductions = [block for block in feeding if reduced_axes(sch, block)]
    if len(outputs) > 1 or not reductions or len(feeding) > len(reductions):
        return None
    row_loops = _shared_rows(sch, outputs[0])
    if row_loops is None:
        return None
    spatial = loops(sch, outputs[0])[0]
    rows = steps(sch, [spatial[number] for number in row_loops])
    if any(steps(sch, loops(sch, block)[0]) != rows for block in reductions):
        return None
    longest = max(reductions, key=lambda block: steps(sch, loops(sch, block)[1]))
    length = steps(sch, loops(sch, longest)[1])
    if length <= _ALONE:
        return None
    extents = [steps(sch, [spatial[number]]) for number in row_loops]
    columns = _whole_part(extents, gpu.warp)
    if not _reads_along(sch, longest) and columns >= gpu.warp // 4:
        return _Team(row_loops, columns, _BLOCK // gpu.warp, along=False)
    threads = min(_BLOCK, max(gpu.warp, 1 << (length // 4).bit_length()))
    at_once = max(1, min(_BLOCK // threads, rows // gpu.multiprocessors))
    return _Team(row_loops, _whole_part(extents, at_once), threads, along=True)


def _whole_part(extents: list[int], limit: int) -> int:
    """How many neighbours of a nest of loops one block may take, up to `limit`: TVM follows a cut through one loop."""
    taken = 1
    for extent in reversed(extents):
        part = largest_divisor(extent, limit // taken)
        taken *= part
        if part < extent:
            break
    return taken


def _shared_rows(sch: Schedule, result: Any) -> tuple[int, ...] | None:
    """The loops of `result` whose steps say which element of a reduction it reads; None where others do."""
    written = [region.source for block in _feeding(sch) for region in sch.get(block).writes]
    axes = [axis.var for axis in sch.get(result).iter_vars]
    rows = set()
    for region in sch.get(result).reads:
        if not any(region.source.same_as(buffer) for buffer in written):
            continue
        for place in region.region:
            used = [number for number, axis in enumerate(axes) if place.min.same_as(axis)]
            if not used and not isinstance(place.min, tirx.IntImm):
                return None
            rows.update(used)
    return tuple(sorted(rows))


def _reads_along(sch: Schedule, block: Any) -> bool:
    """Whether neighbours in memory are reduced by `block` to the same number."""
    last = [region.region[-1].min for region in sch.get(block).reads]
    axis = reduced_axes(sch, block)[-1]
    return any(used.same_as(axis) for index in last for used in tirx.analysis.undefined_vars(index, []))


def _together(sch: Schedule, team: _Team) -> None:
    """The threads of a block compute the reductions of its rows, each a part, and then the results."""
    (result,) = results(sch)
    spatial = loops(sch, result)[0]
    row_loops = [spatial[number] for number in team.row_loops]
    columns = [loop for number, loop in enumerate(spatial) if number not in team.row_loops]
    row_loops = row_loops or [sch.add_unit_loop(columns[0])]
    columns = columns or [sch.add_unit_loop(result)]
    sch.reorder(*row_loops, *columns)
    row_axis, thread_axis = ("threadIdx.y", "threadIdx.x") if team.along else ("threadIdx.x", "threadIdx.y")
    block, row = sch.split(fused(sch, row_loops), [None, team.rows])
    _, thread = sch.split(fused(sch, columns), [None, team.threads])
    sch.bind(block, "blockIdx.x")
    sch.bind(row, row_axis)
    sch.bind(thread, thread_axis)
    for reduction in reversed(_feeding(sch)):
        sch.compute_at(reduction, row, True)
        # TVM gives the sum in registers to every thread; from shared memory it would be read without a barrier.
        for number in range(len(sch.get(reduction).writes)):
            sch.set_scope(reduction, number, "local")
        _, part = sch.split(fused(sch, loops(sch, reduction)[1]), [None, team.threads])
        sch.bind(part, thread_axis)
