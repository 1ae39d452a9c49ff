"""Pointwise convolution and linear layer on a GPU: a matrix product with packed weights.

Weights lie as [N/columns, K, columns], in panels as wide as a block's tile. Where there are so few rows of x that all
time goes into reading weights, they lie as [N, K], and a warp takes a column of results: see `gemm_row.py`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.cuda.block_tile import (
    BlockTile,
    block_tile,
    lanes_of,
    schedule_tile_product,
    tile_product,
)
from lwc.targets.kernels.epilogue import Epilogue, at
from lwc.targets.kernels.gemm import pack_panels
from lwc.targets.kernels.tiling import RegisterTile
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te


@dataclass(frozen=True)
class Gemm:
    """y[m, n] = epilogue(sum over k of x[m, k] w[k, n] + bias[n], residual[m, n])."""

    rows: int
    inner: int
    outputs: int
    tile: BlockTile
    epilogue: Epilogue

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.rows * self.inner * self.outputs

    @property
    def stored_columns(self) -> int:
        """The columns of the result."""
        return self.outputs


def plan(rows: int, inner: int, columns: int, epilogue: Epilogue, target: Target) -> Gemm:
    """The kernel for x (rows, inner) times w (inner, columns), tiled for `target`, which has a GPU."""
    assert target.gpu is not None
    return Gemm(rows, inner, columns, block_tile(rows, inner, columns, target.gpu), epilogue)


def pack(kernel: Gemm, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (N, K) in the kernel's order, zeros in the columns and the k that pad."""
    columns, chunk = kernel.tile.columns, kernel.tile.chunk
    padded = np.pad(weight, ((0, 0), (0, -kernel.inner % chunk)))
    return pack_panels(padded, RegisterTile(1, columns, columns))


def compute(kernel: Gemm, x: Any, weight: Any, bias: Any, residual: Any = None) -> Any:
    """The tensor expression; x (rows, inner), weight packed, bias and residual like y."""
    columns = kernel.tile.columns
    product = tile_product(
        kernel.tile,
        (1, kernel.rows, kernel.inner, kernel.outputs),
        lambda b, i, k: x[i, k],
        lambda b, k, j: weight[j // columns, k, j % columns],
    )
    return te.compute(
        (kernel.rows, kernel.outputs),
        lambda i, j: kernel.epilogue(product[0, i, j] + bias[j], at(residual, i, j)),
        name="result",
    )


def schedule(sch: Schedule, kernel: Gemm) -> None:
    """Blocks, threads and shared memory for the function that `compute` gave."""
    schedule_tile_product(sch, kernel.tile, lanes_of(kernel.inner), lanes_of(kernel.outputs))
