"""Pointwise convolution and linear layer on a GPU: a matrix product with packed weights.

Weights lie as [N/columns, K, columns], in panels as wide as a block's tile. For the few rows of `warp_product.py` they
lie as [N, K].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.cuda.block_tile import lanes_of
from lwc.targets.kernels.cuda.products import Tile, product, product_tile, schedule_product
from lwc.targets.kernels.cuda.warp_product import MOST_ROWS, schedule_warp_product, warp_product
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
    tile: Tile | None  # None: a warp a column of results
    warp: int
    epilogue: Epilogue
    dtype: str  # of x, the weights, the residual and y

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
    few = rows <= MOST_ROWS
    tile = None if few else product_tile(rows, inner, columns, target.gpu)
    return Gemm(rows, inner, columns, tile, target.gpu.warp, epilogue, target.gpu.numbers)


def pack(kernel: Gemm, weight: NDArray[np.float32]) -> NDArray[Any]:
    """Weights (N, K) in the kernel's order, zeros in the columns and the k that pad."""
    if kernel.tile is None:
        return np.ascontiguousarray(weight, kernel.dtype)
    return pack_tiles(weight, kernel.tile).astype(kernel.dtype)


def pack_tiles(weight: NDArray[Any], tile: Tile) -> NDArray[Any]:
    """Weights (N, K) as [N/columns, K, columns] of `tile`, zeros in the columns and the k that pad."""
    padded = np.pad(weight, ((0, 0), (0, -weight.shape[1] % tile.chunk)))
    return pack_panels(padded, RegisterTile(1, tile.columns, tile.columns))


def compute(kernel: Gemm, x: Any, weight: Any, bias: Any, residual: Any = None) -> Any:
    """The tensor expression; x (rows, inner), weight packed, bias and residual like y."""
    multiplied = _product(kernel, x, weight)
    return te.compute(
        (kernel.rows, kernel.outputs),
        lambda i, j: kernel.epilogue(multiplied(i, j) + bias[j], at(residual, i, j)).astype(x.dtype),
        name="result",
    )


def _product(kernel: Gemm, x: Any, weight: Any) -> Callable[..., Any]:
    """Gives the product's element at a row and a column."""
    extents = (kernel.rows, kernel.inner, kernel.outputs)
    if kernel.tile is None:
        lanes = lanes_of(kernel.inner)
        sums = warp_product(
            *(*extents, kernel.warp, lanes),
            lambda i, k: x[i, k].astype("float32"),
            lambda k, j: weight[j, k].astype("float32"),
        )
        return lambda i, j: sums[i, j]
    columns = kernel.tile.columns
    tiled = product(
        kernel.tile,
        (1, *extents),
        lambda b, i, k: x[i, k],
        lambda b, k, j: weight[j // columns, k, j % columns],
    )
    return lambda i, j: tiled[0, i, j]


def schedule(sch: Schedule, kernel: Gemm) -> None:
    """Blocks, threads and shared memory for the function that `compute` gave."""
    if kernel.tile is None:
        schedule_warp_product(sch, kernel.warp, lanes_of(kernel.inner))
        return
    schedule_product(sch, kernel.tile, kernel.inner, kernel.tile.columns, kernel.outputs)
