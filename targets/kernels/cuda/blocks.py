"""What a scheduled function computes, block by block: loops, axes, what is read; and steps that TVM may refuse."""

import math
from collections.abc import Callable
from typing import Any

from lwc.tvm_api import Schedule, ScheduleError, tirx


def blocks(sch: Schedule) -> list[Any]:
    """The blocks that compute something, in the order of the function."""
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def results(sch: Schedule) -> list[Any]:
    """The blocks that write what the function gives."""
    # TVM counts those inside another block among them, too.
    outputs = list(sch.get_output_blocks(sch.get_sblock("root")))
    return [block for block in blocks(sch) if among(sch, block, outputs)]


def feeding(sch: Schedule) -> list[Any]:
    """The blocks before the results."""
    outputs = results(sch)
    return [block for block in blocks(sch) if not among(sch, block, outputs)]


def among(sch: Schedule, block: Any, others: list[Any]) -> bool:
    """Whether `block` is one of `others`."""
    return any(sch.get(block).same_as(sch.get(other)) for other in others)


def reduced_axes(sch: Schedule, block: Any) -> list[Any]:
    """The axes that `block` reduces over."""
    return [axis.var for axis in sch.get(block).iter_vars if _reduces(axis)]


def loops(sch: Schedule, block: Any) -> tuple[list[Any], list[Any]]:
    """The loops of `block`, not split or fused so far: over spatial axes, and over those that it reduces.

    Loops that stand around the block's own are left out. A block without any gets one of a single step.
    """
    axes = list(sch.get(block).iter_vars)
    around = list(sch.get_loops(block))
    if len(around) < len(axes):
        # TVM makes no loop of a single step where it moves a block.
        axes = [axis for axis in axes if int(axis.dom.extent) > 1]
    if not axes:
        return around[-1:] or [sch.add_unit_loop(block)], []
    own = list(zip(around[len(around) - len(axes) :], axes, strict=True))
    spatial = [loop for loop, axis in own if not _reduces(axis)]
    return spatial, [loop for loop, axis in own if _reduces(axis)]


def _reduces(axis: Any) -> bool:
    return bool(axis.iter_type == tirx.IterVar.CommReduce)


def steps(sch: Schedule, nest: list[Any]) -> int:
    """How often the innermost of the loops `nest` runs."""
    return math.prod(int(sch.get(loop).extent) for loop in nest)


def fused(sch: Schedule, nest: list[Any]) -> Any:
    """The loops `nest` as one."""
    return nest[0] if len(nest) == 1 else sch.fuse(*nest)


def attempt(primitive: Callable[..., Any], *arguments: Any) -> bool:
    """Whether TVM took the step; it refuses, among others, to inline or move what is an output."""
    try:
        primitive(*arguments)
    except ScheduleError:
        return False
    return True
