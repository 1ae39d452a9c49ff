"""Batched matrix product of two activations on a GPU: both operands as they lie in memory.

The tiles are those of `gemm.py`; here the right operand is no weight that could be padded when the model is compiled.
"""

from dataclasses import dataclass
from typing import Any

from lwc.targets.kernels.cuda.products import Tile, product, product_tile, schedule_product
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx


@dataclass(frozen=True)
class Matmul:
    """y[b, m, n] = sum over k of x[b, m, k] w[b, k, n]."""

    batch: int
    rows: int
    inner: int
    columns: int
    tile: Tile

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.batch * self.rows * self.inner * self.columns


def plan(batch: int, rows: int, inner: int, columns: int, target: Target) -> Matmul:
    """The kernel for x (batch, rows, inner) times w (batch, inner, columns), tiled for `target`, which has a GPU."""
    assert target.gpu is not None
    return Matmul(batch, rows, inner, columns, product_tile(rows, inner, columns, target.gpu, batch))


def compute(kernel: Matmul, x: Any, w: Any) -> Any:
    """The tensor expression; x (batch, rows, inner), w (batch, inner, columns)."""

    def right(b: Any, k: Any, j: Any) -> Any:
        inside = tirx.all(k < kernel.inner, j < kernel.columns)
        return tirx.if_then_else(inside, w[b, k, j], tirx.const(0, w.dtype))

    extents = (kernel.batch, kernel.rows, kernel.inner, kernel.columns)
    multiplied = product(kernel.tile, extents, lambda b, i, k: x[b, i, k], right)
    return te.compute(
        (kernel.batch, kernel.rows, kernel.columns),
        lambda b, i, j: multiplied[b, i, j].astype(x.dtype),
        name="result",
    )


def schedule(sch: Schedule, kernel: Matmul) -> None:
    """Blocks, threads and shared memory for the function that `compute` gave."""
    schedule_product(sch, kernel.tile, kernel.inner, kernel.columns, kernel.columns)
