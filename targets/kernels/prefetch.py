"""The mark on a loop whose last operand, a packed constant, is to be fetched ahead: see lwc/lower/prefetch.py."""

from typing import Any

from lwc.targets.kernels.tiling import fetched_lines
from lwc.tvm_api import Schedule

PREFETCH = "lwc.prefetch"
# Steps of a register tile, about six cycles each: as long as memory takes to answer.
_DISTANCE = 64
_KEPT_BYTES = 16 * 1024


def prefetch_rows(sch: Schedule, loop: Any, columns: int, size: int) -> None:
    """Mark `loop`, which reads a row of `columns` of `size` float32 values in each step, where rows are whole lines.

    What the first cache keeps, once read, is not fetched.
    """
    if fetched_lines(columns) and 4 * size > _KEPT_BYTES:
        sch.annotate(loop, PREFETCH, _DISTANCE)
