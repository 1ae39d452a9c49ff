"""Pointwise convolution and linear layer on 8-bit integers on a GPU: `gemm`, with four neighbouring k in a word.

The weights lie as words, [N/columns, K/4, columns], those of few rows as [N, K/4]. The zero point of x is in the bias:
sum (x - z) w = sum x w - z sum w.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.cuda import gemm
from lwc.targets.kernels.cuda.block_tile import (
    BlockTile,
    block_tile,
    schedule_tile_product,
    tile_product,
)
from lwc.targets.kernels.cuda.warp_product import MOST_ROWS, schedule_warp_product, warp_product
from lwc.targets.kernels.cuda.word import word_at
from lwc.targets.kernels.dot_product import dot
from lwc.targets.kernels.epilogue import at
from lwc.targets.kernels.quantized_gemm import WORD
from lwc.targets.kernels.requantize import Requantize
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, te, tirx


@dataclass(frozen=True)
class QuantizedGemm:
    """y[m, n] = requantize(sum over k of x[m, k] w[k, n] + bias[n], multiplier[n], residual[m, n])."""

    rows: int
    inner: int  # a multiple of four
    outputs: int
    tile: BlockTile | None  # of words; None: a warp a column of results
    warp: int
    requantize: Requantize

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.rows * self.inner * self.outputs

    @property
    def stored_columns(self) -> int:
        """The columns of the result."""
        return self.outputs


def plan(rows: int, inner: int, columns: int, requantize: Requantize, target: Target) -> QuantizedGemm:
    """The kernel for x (rows, inner) times w (inner, columns), tiled for `target`, which has a GPU."""
    assert target.gpu is not None
    tile = None if rows <= MOST_ROWS else block_tile(rows, inner // WORD, columns, target.gpu)
    return QuantizedGemm(rows, inner, columns, tile, target.gpu.warp, requantize)


def pack(kernel: QuantizedGemm, weight: NDArray[np.int8]) -> NDArray[np.int32]:
    """Weights (N, K) as words in the kernel's order, zeros in the columns and the k that pad."""
    words = np.pad(weight, ((0, 0), (0, kernel.inner - weight.shape[1]))).view(np.int32)
    return words if kernel.tile is None else gemm.pack_tiles(words, kernel.tile)


def compute(
    kernel: QuantizedGemm, x: Any, weight: Any, bias: Any, multiplier: Any, residual: Any = None
) -> Any:
    """The tensor expression; x (rows, inner) of bytes, weight packed, the others like y."""
    product = _product(kernel, x, weight)
    return te.compute(
        (kernel.rows, kernel.outputs),
        lambda i, j: kernel.requantize(product(i, j) + bias[j], multiplier[j], at(residual, i, j)),
        name="result",
    )


def multiply(x: Any, w: Any) -> Any:
    """The sum of the products of the bytes of two words."""
    return dot("dp4a", x, w, tirx.const(0, "int32"))


def _product(kernel: QuantizedGemm, x: Any, weight: Any) -> Callable[..., Any]:
    """Gives the product's element at a row and a column."""
    extents = (kernel.rows, kernel.inner // WORD, kernel.outputs)
    if kernel.tile is None:
        few: Callable[..., Any] = warp_product(
            *extents,
            kernel.warp,
            1,
            lambda i, k: word_at(x[i, WORD * k]),
            lambda k, j: weight[j, k],
            multiply,
            "int32",
        )
        return few
    columns = kernel.tile.columns
    product = tile_product(
        kernel.tile,
        (1, *extents),
        lambda b, i, k: word_at(x[i, WORD * k]),
        lambda b, k, j: weight[j // columns, k, j % columns],
        multiply,
        "int32",
    )
    return lambda i, j: product[0, i, j]


def schedule(sch: Schedule, kernel: QuantizedGemm) -> None:
    """Blocks, threads and shared memory for the function that `compute` gave."""
    if kernel.tile is None:
        schedule_warp_product(sch, kernel.warp, 1)
        return
    schedule_tile_product(sch, kernel.tile, 1, 1)
