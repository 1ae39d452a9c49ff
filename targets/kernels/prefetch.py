"""The mark on a loop whose last operand, packed weights, is to be fetched ahead: see lwc/lower/prefetch.py."""

from typing import Any

from lwc.targets.kernels.tiling import fetched_lines
from lwc.tvm_api import Schedule

PREFETCH = "lwc.prefetch"
# Steps of a tile of registers, about six cycles each: longer than the third cache takes to answer.
_DISTANCE = 32


def prefetch_weights(sch: Schedule, loop: Any, columns: int) -> None:
    """Mark `loop`, which reads a row of `columns` packed float32 weights in each step, where rows are whole lines."""
    if fetched_lines(columns):
        sch.annotate(loop, PREFETCH, _DISTANCE)
