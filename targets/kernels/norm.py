"""Layer normalisation over the last axis, a row at a time: mean, variance and result from cache, in whole vectors.

The variance is the mean of squared differences from the mean, in a second pass: the mean of squares less the square of
the mean cancels (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician
37(3), 1983).
"""

from dataclasses import dataclass
from typing import Any

from lwc.targets.kernels.tiling import balanced_split, largest_divisor
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx

# Fewer elements than this in a parallel task cost more to hand out than they take.
_LEAST_ELEMENTS = 8192


@dataclass(frozen=True)
class Norm:
    """y[i, j] = (x[i, j] - mean of row i) / sqrt(variance of row i + epsilon) * weight[j] + bias[j]."""

    rows: int
    columns: int
    epsilon: float
    lanes: int  # partial sums side by side
    row_block: int  # in one parallel task

    macs = 0


def plan(rows: int, columns: int, epsilon: float, target: Target) -> Norm:
    """The kernel for x (rows, columns)."""
    least = max(1, _LEAST_ELEMENTS // columns)
    block = max(balanced_split(rows, 1, rows, target.cores), min(rows, least))
    return Norm(
        rows, columns, epsilon, largest_divisor(columns, target.float_lanes), largest_divisor(rows, block)
    )


def compute(kernel: Norm, x: Any, weight: Any = None, bias: Any = None) -> Any:
    """The tensor expression; x (rows, columns), weight and bias (columns)."""
    rows, columns, lanes = kernel.rows, kernel.columns, kernel.lanes

    def mean_of(name: str, value: Any) -> Any:
        """The mean over each row of `value(i, j)`."""
        vector = te.reduce_axis((0, columns // lanes), name="vector")
        parts = te.compute(
            (rows, lanes),
            lambda i, lane: te.sum(value(i, vector * lanes + lane), axis=vector),
            name=f"{name}_parts",
        )
        lane = te.reduce_axis((0, lanes), name="lane")
        total = te.compute((rows,), lambda i: te.sum(parts[i, lane], axis=lane), name=f"{name}_total")
        return te.compute((rows,), lambda i: total[i] * tirx.const(1 / columns, "float32"), name=name)

    mean = mean_of("mean", lambda i, j: x[i, j])
    variance = mean_of("variance", lambda i, j: (x[i, j] - mean[i]) * (x[i, j] - mean[i]))
    scale = te.compute(
        (rows,),
        lambda i: tirx.const(1, "float32") / tirx.sqrt(variance[i] + tirx.const(kernel.epsilon, "float32")),
        name="scale",
    )

    def result(i: Any, j: Any) -> Any:
        y = (x[i, j] - mean[i]) * scale[i]
        y = y if weight is None else y * weight[j]
        return y if bias is None else y + bias[j]

    return te.compute((rows, columns), result, name="result")


def schedule(sch: Schedule, kernel: Norm) -> None:
    """Blocks of rows as parallel tasks; inside a row, vectors."""
    result = sch.get_sblock("result")
    i, j = sch.get_loops(result)
    task, row = sch.split(i, [None, kernel.row_block])
    sch.parallel(task)
    _, lane = sch.split(j, [None, kernel.lanes])
    sch.vectorize(lane)
    sch.compute_at(sch.get_sblock("scale"), row, preserve_unit_loops=True)
    for name in ("variance", "mean"):
        sch.compute_at(sch.get_sblock(name), row, preserve_unit_loops=True)
        total, parts = sch.get_sblock(f"{name}_total"), sch.get_sblock(f"{name}_parts")
        sch.compute_at(total, row, preserve_unit_loops=True)
        sch.compute_at(parts, row, preserve_unit_loops=True)
        *_, lanes, vectors = sch.get_loops(parts)
        sch.reorder(vectors, lanes)
        sch.vectorize(lanes)
        sch.decompose_reduction(parts, vectors)
        sums = sch.get_loops(total)[-1]
        sch.unroll(sums)
        sch.decompose_reduction(total, sums)
