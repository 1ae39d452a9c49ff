"""Pointwise convolution and linear layer: a matrix product with packed weights.

The weights lie as [N/nr, K, nr], so that the inner loop reads them in order. A tile of mr x nr results stays in
registers over all of K (the scheme of Goto and van de Geijn, "Anatomy of high-performance matrix multiplication",
ACM TOMS 34(3), 2008). Each tile is a parallel task; the tiles of a group of rows follow each other panel by panel, so
that a thread reads a panel of weights once for all of them.

Where a multiply-add can take its factor from one element of a register (NEON), the inner loop loads a few neighbouring
k of each row at once, and broadcasts none. A single row of x does so everywhere.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.epilogue import Epilogue, at
from lwc.targets.kernels.prefetch import prefetch_rows
from lwc.targets.kernels.tiling import (
    OutputChannels,
    RegisterTile,
    largest_divisor,
    register_tile,
    round_up,
    store_lanes,
)
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx

# Of a panel of weights that no cache near a core holds.
FAR_VECTORS = 3


@dataclass(frozen=True)
class Gemm(OutputChannels):
    """y[m, n] = epilogue(sum over k of x[m, k] w[k, n] + bias[n], residual[m, n]).

    n goes up to N, rounded up where no vector divides that.
    """

    rows: int
    inner: int
    outputs: int
    tile: RegisterTile
    row_tiles: int  # in a group
    inner_step: int  # neighbouring k of a row in one load; 1: each is broadcast from memory
    epilogue: Epilogue

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.rows * self.inner * self.outputs


def plan(rows: int, inner: int, columns: int, epilogue: Epilogue, target: Target) -> Gemm:
    """The kernel for x (rows, inner) times w (inner, columns), tiled for `target`."""
    if rows == 1:
        return _plan_row(inner, columns, epilogue, target)
    by_element = target.multiplies_by_element
    tile = register_tile(rows, columns, target, held=by_element)
    # The group's rows of x are read once for each panel: half of the second-level cache holds them. Where half of the
    # first holds all weights, rows of y are better written at once.
    near = 4 * inner * round_up(columns, tile.lanes) <= target.l1_bytes // 2
    limit = 1 if near else max(1, target.l2_bytes // 2 // (4 * inner * tile.rows))
    tiles = -(-rows // tile.rows)
    groups = -(-tiles // limit)
    step = largest_divisor(inner, 2) if by_element else 1
    return Gemm(rows, inner, columns, tile, -(-tiles // groups), step, epilogue)


def _plan_row(inner: int, columns: int, epilogue: Epilogue, target: Target) -> Gemm:
    """For a single row of x, which takes as long as its weights need to arrive.

    Two neighbouring k in a step keep more of them on the way. Where they come from beyond the second-level cache,
    narrow panels are better: each thread then reads one stream.
    """
    tile = register_tile(1, columns, target, held=target.multiplies_by_element)
    if 4 * inner * columns > 2 * target.l2_bytes:
        vectors = largest_divisor(tile.columns // tile.lanes, FAR_VECTORS)
        tile = replace(tile, columns=vectors * tile.lanes)
    return Gemm(1, inner, columns, tile, 1, largest_divisor(inner, 2), epilogue)


def pack(kernel: Gemm, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (N, K) in the kernel's order [N/nr, K, nr], zeros in the columns that pad."""
    return pack_panels(weight, kernel.tile)


def pack_panels(weight: NDArray[Any], tile: RegisterTile) -> NDArray[Any]:
    """The same for any kernel whose product has this tile, and for elements of any type."""
    columns, inner = weight.shape
    padded = np.pad(weight, ((0, round_up(columns, tile.lanes) - columns), (0, 0)))
    panels = padded.reshape(-1, tile.columns, inner)
    return np.ascontiguousarray(panels.transpose(0, 2, 1))


def compute(kernel: Gemm, x: Any, weight: Any, bias: Any, residual: Any = None) -> Any:
    """The tensor expression; x (rows, inner), weight packed, bias and residual like y."""
    rows = round_up(kernel.rows, kernel.tile.rows * kernel.row_tiles)
    nr = kernel.tile.columns
    k = te.reduce_axis((0, kernel.inner), name="k")

    def row(i: Any) -> Any:
        # Rows beyond the last repeat it: their results are never stored.
        return i if rows == kernel.rows else tirx.min(i, kernel.rows - 1)

    left = te.compute((rows, kernel.inner), lambda i, k: x[row(i), k], name="left")
    product = te.compute(
        (rows, kernel.padded_columns),
        lambda i, j: te.sum(left[i, k] * weight[j // nr, k, j % nr], axis=k),
        name="product",
    )
    return te.compute(
        (kernel.rows, kernel.stored_columns),
        lambda i, j: kernel.epilogue(product[i, j] + bias[j], at(residual, i, j)),
        name="result",
    )


def schedule(sch: Schedule, kernel: Gemm) -> None:
    """Register tiles, column panels and parallel tasks for the function that `compute` gave."""
    tile = kernel.tile
    product, result = sch.get_sblock("product"), sch.get_sblock("result")
    i, j, k = sch.get_loops(product)
    group, row_tile, row = sch.split(i, [None, kernel.row_tiles, tile.rows])
    panel, column = sch.split(j, [None, tile.columns])
    k, step = sch.split(k, [None, kernel.inner_step])
    sch.reorder(group, panel, row_tile, k, step, row, column)
    task = sch.fuse(group, panel, row_tile)
    sch.parallel(task)
    sch.reverse_compute_at(result, task, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(result), store_lanes(kernel.outputs, tile.lanes))
    unroll_tile(sch, [row, column], tile.lanes)
    sch.unroll(step)
    _schedule_left(sch, kernel, k)
    sch.decompose_reduction(product, k)


def _schedule_left(sch: Schedule, kernel: Gemm, k: Any) -> None:
    """The tile's rows of x: some neighbouring k of each into a register, or each k where it is used."""
    left = sch.get_sblock("left")
    if kernel.inner_step == 1:
        sch.compute_inline(left)
        prefetch_rows(sch, k, kernel.tile.columns, kernel.inner * kernel.padded_columns)
        return
    sch.compute_at(left, k, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(left), kernel.inner_step)


def unroll_tile(sch: Schedule, loops: list[Any], lanes: int) -> None:
    """Unroll a register tile, the last two of `loops`: rows, then vectors of `lanes` columns."""
    row, column = loops[-2:]
    vector, lane = sch.split(column, [None, lanes])
    sch.vectorize(lane)
    sch.unroll(vector)
    sch.unroll(row)
