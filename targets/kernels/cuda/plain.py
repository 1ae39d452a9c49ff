"""The schedule of every function that has no template: element-wise chains, copies, reductions, softmax.

Each function is one launch. Chains are computed in registers, and the nests of several results become one grid. What
a result needs of a reduction is computed by its own thread where that is little work (the window of a pooling), and by
the threads of a block together where it is more: the maximum and the sum of a softmax, the mean of a map.
"""

from typing import Any

from lwc.errors import UnsupportedError
from lwc.targets.gpu import Gpu
from lwc.targets.kernels.cuda.blocks import (
    among,
    attempt,
    blocks,
    feeding,
    fused,
    loops,
    reduced_axes,
    results,
    steps,
)
from lwc.targets.kernels.cuda.team import schedule_together, team_of
from lwc.targets.kernels.cuda.vectors import LANES, moves_vectors
from lwc.targets.target import Target
from lwc.tvm_api import Schedule

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
    team = team_of(sch, target.gpu)
    if team is None or not attempt(schedule_together, sch.copy(), team):
        _alone(sch, target.gpu)
    else:
        schedule_together(sch, team)


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
    for block in reversed(feeding(sch)):
        if not any(attempt(sch.compute_at, block, place, True) for place in places):
            name = sch.get(block).name_hint
            raise UnsupportedError(f"{name}: no single launch can compute it; give it one result alone")
        for number in range(len(sch.get(block).writes)):
            sch.set_scope(block, number, "local")


def _in_vectors(sch: Schedule, block: Any, gpu: Gpu) -> bool:
    """Whether `block` alone fills the GPU with threads that move a vector each."""
    spatial, _ = loops(sch, block)
    enough = steps(sch, spatial) >= LANES * _BLOCK * gpu.multiprocessors
    return enough and not feeding(sch) and moves_vectors(sch, block)


def _block_threads(work: int, gpu: Gpu) -> int:
    """The threads of a block: fewer where whole blocks would leave multiprocessors idle."""
    return next((n for n in (_BLOCK, _BLOCK // 2) if work >= n * gpu.multiprocessors), _BLOCK // 4)
