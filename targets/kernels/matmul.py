"""Batched matrix product of two activations (attention): both operands as they lie in memory.

A tile of mr x nr results stays in registers over all of K, as in gemm.py. Where N is not whole vectors,
the right operand is first copied with zero columns, inside the task that reads it, so the arithmetic stays whole.
"""

from dataclasses import dataclass
from typing import Any

from lwc.targets.kernels.gemm import unroll_tile
from lwc.targets.kernels.tiling import RegisterTile, balanced_split, largest_divisor, register_tile, round_up
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx


@dataclass(frozen=True)
class Matmul:
    """y[b, m, n] = sum over k of x[b, m, k] w[b, k, n]."""

    batch: int
    rows: int
    inner: int
    columns: int
    tile: RegisterTile
    row_tiles: int  # in one parallel task

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.batch * self.rows * self.inner * self.columns

    @property
    def padded_columns(self) -> int:
        """`columns` rounded up to whole vectors."""
        return round_up(self.columns, self.tile.lanes)


def plan(batch: int, rows: int, inner: int, columns: int, target: Target) -> Matmul:
    """The kernel for x (batch, rows, inner) times w (batch, inner, columns), tiled for `target`."""
    tile = register_tile(rows, columns, target)
    tiles = round_up(rows, tile.rows) // tile.rows
    return Matmul(batch, rows, inner, columns, tile, balanced_split(tiles, batch, tiles, target.cores))


def compute(kernel: Matmul, x: Any, w: Any) -> Any:
    """The tensor expression; x (batch, rows, inner), w (batch, inner, columns)."""
    rows = round_up(kernel.rows, kernel.tile.rows * kernel.row_tiles)
    columns = kernel.padded_columns
    right = w
    if columns != kernel.columns:
        right = te.compute(
            (kernel.batch, kernel.inner, columns),
            lambda b, k, j: tirx.if_then_else(j < kernel.columns, w[b, k, j], tirx.const(0, "float32")),
            name="padded",
        )
    k = te.reduce_axis((0, kernel.inner), name="k")
    product = te.compute(
        (kernel.batch, rows, columns),
        lambda b, i, j: te.sum(x[b, tirx.min(i, kernel.rows - 1), k] * right[b, k, j], axis=k),
        name="product",
    )
    return te.compute(
        (kernel.batch, kernel.rows, kernel.columns), lambda b, i, j: product[b, i, j], name="result"
    )


def schedule(sch: Schedule, kernel: Matmul) -> None:
    """Register tiles and parallel tasks for the function that `compute` gave."""
    tile = kernel.tile
    product, result = sch.get_sblock("product"), sch.get_sblock("result")
    b, i, j, k = sch.get_loops(product)
    group, row_tile, row = sch.split(i, [None, kernel.row_tiles, tile.rows])
    panel, column = sch.split(j, [None, tile.columns])
    sch.reorder(b, group, panel, row_tile, k, row, column)
    task = sch.fuse(b, group)
    sch.parallel(task)
    if kernel.padded_columns != kernel.columns:
        sch.compute_at(sch.get_sblock("padded"), task)
    sch.reverse_compute_at(result, row_tile, preserve_unit_loops=True)
    # The last tile stores some of its columns only: vectors that divide N are stored whole or not at all.
    unroll_tile(sch, sch.get_loops(result), largest_divisor(kernel.columns, tile.lanes))
    unroll_tile(sch, [row, column], tile.lanes)
    sch.decompose_reduction(product, k)
