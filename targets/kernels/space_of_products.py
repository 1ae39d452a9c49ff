"""The free choices of a matrix product: its register tile, how its rows are grouped, and how far k is unrolled."""

from collections.abc import Mapping
from dataclasses import replace

from lwc.targets.kernels.gemm import Gemm
from lwc.targets.kernels.quantized_gemm import QuantizedGemm
from lwc.targets.kernels.tiling import RegisterTile, divisors, fits_registers, round_numbers
from lwc.targets.target import Target

_MOST_ROWS, _MOST_VECTORS = 15, 12
_STEPS = (1, 2, 4)

Product = Gemm | QuantizedGemm


def tile_values(tile: RegisterTile, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    """The rows and vectors that a register tile for `rows` x `columns` (padded) results may have."""
    return {
        "rows": tuple(range(1, min(rows, _MOST_ROWS) + 1)),
        "vectors": divisors(columns // tile.lanes, _MOST_VECTORS),
    }


def read_tile(tile: RegisterTile) -> dict[str, int]:
    """The choices that a register tile stands for."""
    return {"rows": tile.rows, "vectors": tile.columns // tile.lanes}


def tile_of(tile: RegisterTile, choice: Mapping[str, int]) -> RegisterTile:
    """`tile` with the rows and vectors of `choice`."""
    return replace(tile, rows=choice["rows"], columns=choice["vectors"] * tile.lanes)


def values(kernel: Product, target: Target) -> dict[str, tuple[int, ...]]:
    """Of the tile; `groups` of rows; `step`, the neighbouring k that one load takes."""
    found = tile_values(kernel.tile, kernel.rows, kernel.padded_columns)
    found["groups"] = round_numbers(_groups(kernel.rows, 1, 1), _groups_of(kernel))
    if isinstance(kernel, Gemm):
        found["step"] = tuple(step for step in _STEPS if kernel.inner % step == 0)
    return found


def read(kernel: Product) -> dict[str, int]:
    """The choices that `kernel` stands for."""
    found = {**read_tile(kernel.tile), "groups": _groups_of(kernel)}
    return {**found, "step": kernel.inner_step} if isinstance(kernel, Gemm) else found


def write(kernel: Product, choice: Mapping[str, int], target: Target) -> Product | None:
    """`kernel` with these choices; None where they do not fit the registers."""
    tile = tile_of(kernel.tile, choice)
    held = choice.get("step", 1) > 1
    if not fits_registers(tile, target, held):
        return None
    tiles = -(-kernel.rows // tile.rows)
    row_tiles = -(-tiles // min(tiles, choice["groups"]))
    if isinstance(kernel, Gemm):
        return replace(kernel, tile=tile, row_tiles=row_tiles, inner_step=choice["step"])
    return replace(kernel, tile=tile, row_tiles=row_tiles)


def _groups_of(kernel: Product) -> int:
    return _groups(kernel.rows, kernel.tile.rows, kernel.row_tiles)


def _groups(rows: int, tile_rows: int, row_tiles: int) -> int:
    tiles = -(-rows // tile_rows)
    return -(-tiles // row_tiles)
