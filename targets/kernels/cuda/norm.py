"""Layer normalisation over the last axis on a GPU: a warp a row, or a block where rows are long and few.

The variance is the mean of squared differences from the mean, as in `targets/kernels/norm.py`. A thread keeps its part
of the row in registers, so that the row is read once.
"""

from dataclasses import dataclass
from typing import Any

from lwc.targets.kernels.tiling import largest_divisor
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx

_BLOCK = 256
# Numbers of a row that a thread holds at least, where a row is divided among more than a warp.
_LEAST_OF_A_THREAD = 4
# And at most; of a longer row they are read again.
_MOST_OF_A_THREAD = 16


@dataclass(frozen=True)
class Norm:
    """y[i, j] = (x[i, j] - mean of row i) / sqrt(variance of row i + epsilon) * weight[j] + bias[j]."""

    rows: int
    columns: int
    epsilon: float
    threads: int  # of a row
    row_block: int  # rows of a block of threads

    macs = 0

    @property
    def held(self) -> int:
        """Numbers of a row that each thread reads."""
        return -(-self.columns // self.threads)


def plan(rows: int, columns: int, epsilon: float, target: Target) -> Norm:
    """The kernel for x (rows, columns); `target` has a GPU."""
    assert target.gpu is not None
    threads = min(_BLOCK, max(target.gpu.warp, 1 << (columns // (2 * _LEAST_OF_A_THREAD)).bit_length()))
    at_once = max(1, min(_BLOCK // threads, rows // target.gpu.multiprocessors))
    return Norm(rows, columns, epsilon, threads, largest_divisor(rows, at_once))


def compute(kernel: Norm, x: Any, weight: Any = None, bias: Any = None) -> Any:
    """The tensor expression; x (rows, columns), weight and bias (columns)."""
    rows, columns = kernel.rows, kernel.columns
    held = te.compute((rows, columns), lambda i, j: x[i, j].astype("float32"), name="held")

    def sum_of(name: str, value: Any) -> Any:
        """The sum over each row of `value(i, j)`."""
        j = te.reduce_axis((0, columns), name="j")
        return te.compute((rows,), lambda i: te.sum(value(i, j), axis=j), name=name)

    share = tirx.const(1 / columns, "float32")
    total = sum_of("total", lambda i, j: held[i, j])

    def difference(i: Any, j: Any) -> Any:
        return held[i, j] - total[i] * share

    squares = sum_of("squares", lambda i, j: difference(i, j) * difference(i, j))

    def result(i: Any, j: Any) -> Any:
        variance = squares[i] * share
        y = difference(i, j) * tirx.rsqrt(variance + tirx.const(kernel.epsilon, "float32"))
        y = y if weight is None else y * weight[j].astype("float32")
        y = y if bias is None else y + bias[j].astype("float32")
        return y.astype(x.dtype)

    return te.compute((rows, columns), result, name="result")


def schedule(sch: Schedule, kernel: Norm) -> None:
    """Rows as blocks, or several a block; the threads of a row side by side."""
    result = sch.get_sblock("result")
    i, j = sch.get_loops(result)
    block, row = sch.split(i, [None, kernel.row_block])
    sch.bind(block, "blockIdx.x")
    sch.bind(row, "threadIdx.y")
    _side_by_side(sch, j, kernel)
    for name in ("squares", "total"):
        sums = sch.get_sblock(name)
        sch.compute_at(sums, row, preserve_unit_loops=True)
        # TVM gives the sum in registers to every thread; from shared memory it would be read without a barrier.
        sch.set_scope(sums, 0, "local")
        _side_by_side(sch, sch.get_loops(sums)[-1], kernel)
    held = sch.get_sblock("held")
    if kernel.held > _MOST_OF_A_THREAD:
        sch.compute_inline(held)
        return
    sch.compute_at(held, row, preserve_unit_loops=True)
    sch.set_scope(held, 0, "local")
    _side_by_side(sch, sch.get_loops(held)[-1], kernel)


def _side_by_side(sch: Schedule, loop: Any, kernel: Norm) -> None:
    """Divide a loop over a row among its threads."""
    part, thread = sch.split(loop, [None, kernel.threads])
    sch.bind(thread, "threadIdx.x")
    sch.unroll(part)
