"""The mark on a loop whose last operand, a packed constant, is to be fetched ahead: see lwc/lower/prefetch.py."""

from typing import Any

from lwc.targets.kernels.tiling import fetched_lines
from lwc.tvm_api import Schedule

PREFETCH = "lwc.prefetch"
# Steps of a register tile, about six cycles each: as long as memory takes to answer.
_DISTANCE = 64


def prefetch_rows(sch: Schedule, loop: Any, columns: int) -> None:
    """Mark `loop`, which reads a row of `columns` float32 values in each step, where rows are whole cache lines."""
    if fetched_lines(columns):
        sch.annotate(loop, PREFETCH, _DISTANCE)
