"""Pointwise convolution and linear layer on 8-bit integers: `gemm`, with four neighbouring k in a word.

The weights lie as [N/nr, K/4, nr, 4], a word for each four k, so that the inner loop is one dot-product instruction
for each vector of results. The zero point of x is in the bias: sum (x - z) w = sum x w - z sum w.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.dot_product import dot, word
from lwc.targets.kernels.epilogue import at
from lwc.targets.kernels.gemm import FAR_VECTORS, unroll_tile
from lwc.targets.kernels.prefetch import prefetch_rows
from lwc.targets.kernels.requantize import Requantize
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

WORD = 4
# A sum of so few words takes no longer than to requantize it, which needs registers, too: fewer rows leave them.
_FEW_WORDS, _FEW_ROWS = 8, 4


@dataclass(frozen=True)
class QuantizedGemm(OutputChannels):
    """y[m, n] = requantize(sum over k of x[m, k] w[k, n] + bias[n], multiplier[n], residual[m, n])."""

    rows: int
    inner: int  # a multiple of four
    outputs: int
    tile: RegisterTile
    row_tiles: int  # in a group
    dot_product: str
    requantize: Requantize

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return self.rows * self.inner * self.outputs


def plan(rows: int, inner: int, columns: int, requantize: Requantize, target: Target) -> QuantizedGemm:
    """The kernel for x (rows, inner) times w (inner, columns), tiled for `target`."""
    tile = _tile(rows, inner, columns, target)
    near = inner * round_up(columns, tile.lanes) <= target.l1_bytes // 2
    limit = 1 if near else max(1, target.l2_bytes // 2 // (inner * tile.rows))
    tiles = -(-rows // tile.rows)
    groups = -(-tiles // limit)
    row_tiles = -(-tiles // groups)
    return QuantizedGemm(rows, inner, columns, tile, row_tiles, target.dot_product, requantize)


def _tile(rows: int, inner: int, columns: int, target: Target) -> RegisterTile:
    tile = register_tile(rows, columns, target)
    if rows == 1 and inner * columns > target.l2_bytes // 2:
        # As for `gemm`: each thread reads one stream of weights.
        vectors = largest_divisor(tile.columns // tile.lanes, FAR_VECTORS)
        return replace(tile, columns=vectors * tile.lanes)
    if inner <= _FEW_WORDS * WORD:
        return replace(tile, rows=min(tile.rows, _FEW_ROWS))
    return tile


def pack(kernel: QuantizedGemm, weight: NDArray[np.int8]) -> NDArray[np.int32]:
    """Weights (N, K) as words [N/nr, K/4, nr], zeros in the columns that pad."""
    padded = np.zeros((kernel.padded_columns, kernel.inner), np.int8)
    padded[: len(weight), : weight.shape[1]] = weight
    return panels(padded.view(np.int32), kernel.tile)


def panels(words: NDArray[np.int32], tile: RegisterTile) -> NDArray[np.int32]:
    """Words (N, ...) as [N/nr, ..., nr]."""
    split = words.reshape(-1, tile.columns, *words.shape[1:])
    return np.ascontiguousarray(np.moveaxis(split, 1, -1))


def compute(
    kernel: QuantizedGemm, x: Any, weight: Any, bias: Any, multiplier: Any, residual: Any = None
) -> Any:
    """The tensor expression; x (rows, inner) of bytes, weight packed, the others like y."""
    rows = round_up(kernel.rows, kernel.tile.rows * kernel.row_tiles)
    nr = kernel.tile.columns
    k = te.reduce_axis((0, kernel.inner // WORD), name="k")

    def row(i: Any) -> Any:
        # Rows beyond the last repeat it: their results are never stored.
        return i if rows == kernel.rows else tirx.min(i, kernel.rows - 1)

    def term(i: Any, j: Any) -> Any:
        four = word(lambda byte: x[row(i), WORD * k + byte])
        products = dot(kernel.dot_product, four, weight[j // nr, k, j % nr], tirx.const(0, "int32"))
        return te.sum(products, axis=k)

    product = te.compute((rows, kernel.padded_columns), term, name="product")
    return te.compute(
        (kernel.rows, kernel.stored_columns),
        lambda i, j: kernel.requantize(product[i, j] + bias[j], multiplier[j], at(residual, i, j)),
        name="result",
    )


def schedule(sch: Schedule, kernel: QuantizedGemm) -> None:
    """Register tiles, column panels and parallel tasks for the function that `compute` gave."""
    tile = kernel.tile
    product, result = sch.get_sblock("product"), sch.get_sblock("result")
    i, j, k = sch.get_loops(product)
    group, row_tile, row = sch.split(i, [None, kernel.row_tiles, tile.rows])
    panel, column = sch.split(j, [None, tile.columns])
    sch.reorder(group, panel, row_tile, k, row, column)
    task = sch.fuse(group, panel, row_tile)
    sch.parallel(task)
    sch.reverse_compute_at(result, task, preserve_unit_loops=True)
    unroll_tile(sch, sch.get_loops(result), store_lanes(kernel.outputs, tile.lanes))
    unroll_tile(sch, [row, column], tile.lanes)
    prefetch_rows(sch, k, tile.columns, kernel.inner // WORD * kernel.padded_columns)
    sch.decompose_reduction(product, k)
