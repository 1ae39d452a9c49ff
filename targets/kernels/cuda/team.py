"""Reductions that the threads of a block compute together: the maximum and the sum of a softmax, the mean of a map."""

from dataclasses import dataclass
from typing import Any

from lwc.targets.gpu import Gpu
from lwc.targets.kernels.cuda.blocks import feeding, fused, loops, reduced_axes, results, steps
from lwc.targets.kernels.tiling import largest_divisor
from lwc.tvm_api import Schedule, tirx

# A thread sums up to so many numbers on its own.
_ALONE = 32
# Of a block.
_THREADS = 256


@dataclass(frozen=True)
class Team:
    """Threads of a block that compute what `rows` rows share.

    The loops over the rows, by number among the result's; `threads` divide a row among them, side by side in memory
    where `along` says so: the threads of different rows are side by side otherwise.
    """

    row_loops: tuple[int, ...]
    rows: int
    threads: int
    along: bool


def team_of(sch: Schedule, gpu: Gpu) -> Team | None:
    """The threads for the only result in `sch`; None where each result is to be computed alone."""
    outputs, before = results(sch), feeding(sch)
    reductions = [block for block in before if reduced_axes(sch, block)]
    if len(outputs) > 1 or not reductions or len(before) > len(reductions):
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
        return Team(row_loops, columns, _THREADS // gpu.warp, along=False)
    threads = min(_THREADS, max(gpu.warp, 1 << (length // 4).bit_length()))
    at_once = max(1, min(_THREADS // threads, rows // gpu.multiprocessors))
    return Team(row_loops, _whole_part(extents, at_once), threads, along=True)


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
    written = [region.source for block in feeding(sch) for region in sch.get(block).writes]
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
    last = [region.region[-1].min for region in sch.get(block).reads if region.region]
    axis = reduced_axes(sch, block)[-1]
    return any(used.same_as(axis) for index in last for used in tirx.analysis.undefined_vars(index, []))


def schedule_together(sch: Schedule, team: Team) -> None:
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
    for reduction in reversed(feeding(sch)):
        sch.compute_at(reduction, row, True)
        # TVM gives the sum in registers to every thread; from shared memory it would be read without a barrier.
        for number in range(len(sch.get(reduction).writes)):
            sch.set_scope(reduction, number, "local")
        _, part = sch.split(fused(sch, loops(sch, reduction)[1]), [None, team.threads])
        sch.bind(part, thread_axis)
