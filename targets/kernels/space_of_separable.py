"""The free choices of a depthwise and a pointwise convolution in one kernel: register tiles, rows of a task."""

from collections.abc import Mapping
from dataclasses import replace

from lwc.targets.kernels.separable import Separable
from lwc.targets.kernels.space_of_products import read_tile, tile_of, tile_values
from lwc.targets.kernels.tiling import RegisterTile, divisors, fits_registers, stays_on_stack
from lwc.targets.target import Target

_WINDOW_ROWS = (1, 2, 4)


def values(kernel: Separable, target: Target) -> dict[str, tuple[int, ...]]:
    """Of the product's tile; `pixels`, `window_rows` and `window_vectors` of the window's; `row_block` of a task."""
    rows, columns = kernel.output_size
    return {
        **tile_values(kernel.tile, rows * columns, kernel.padded_columns),
        "pixels": divisors(columns, target.vector_registers // 2),
        "window_rows": _WINDOW_ROWS,
        "window_vectors": divisors(kernel.channels // kernel.window_tile.lanes, 4),
        "row_block": divisors(kernel.batch * rows, kernel.batch * rows),
    }


def read(kernel: Separable) -> dict[str, int]:
    """The choices that `kernel` stands for."""
    window = kernel.window_tile
    return {
        **read_tile(kernel.tile),
        "pixels": window.rows,
        "window_rows": kernel.window_rows,
        "window_vectors": window.columns // window.lanes,
        "row_block": kernel.row_block,
    }


def write(kernel: Separable, choice: Mapping[str, int], target: Target) -> Separable | None:
    """`kernel` with these choices; None where they do not fit the registers, or tiles do not divide a task."""
    tile, window_lanes = tile_of(kernel.tile, choice), kernel.window_tile.lanes
    window = RegisterTile(choice["pixels"], choice["window_vectors"] * window_lanes, window_lanes)
    accumulators = choice["pixels"] * choice["window_rows"] * choice["window_vectors"]
    if not fits_registers(tile, target) or choice["row_block"] % choice["window_rows"]:
        return None
    if accumulators > target.vector_registers // 2 or not stays_on_stack(accumulators * window_lanes):
        return None
    return replace(
        kernel,
        tile=tile,
        window_tile=window,
        window_rows=choice["window_rows"],
        row_block=choice["row_block"],
    )
