"""The free choices of dense convolutions: the register tile, and the rows of a parallel task."""

from collections.abc import Mapping
from dataclasses import replace

from lwc.targets.kernels.conv2d import Conv2d
from lwc.targets.kernels.quantized_conv2d import QuantizedConv2d
from lwc.targets.kernels.space_of_products import read_tile, tile_of, tile_values
from lwc.targets.kernels.tiling import divisors, fits_registers, round_numbers
from lwc.targets.kernels.winograd import Winograd
from lwc.targets.target import Target

Dense = Conv2d | QuantizedConv2d

_MOST_BLOCK = 64


def values(kernel: Dense, target: Target) -> dict[str, tuple[int, ...]]:
    """Of the tile; `row_block` rows in a task, with `all_channels` of them or one panel."""
    rows, columns = kernel.output_size
    found = tile_values(kernel.tile, columns, kernel.padded_columns)
    if isinstance(kernel, Conv2d) and kernel.groups > 1:
        # A vector must not reach into the next group, nor a panel.
        own = kernel.tile.columns // kernel.tile.lanes
        found["vectors"] = (own,)
    found["row_block"] = round_numbers(min(rows, _MOST_BLOCK), kernel.row_block)
    found["all_channels"] = (0, 1)
    return found


def read(kernel: Dense) -> dict[str, int]:
    """The choices that `kernel` stands for."""
    return {**read_tile(kernel.tile), "row_block": kernel.row_block, "all_channels": int(kernel.share_rows)}


def write(kernel: Dense, choice: Mapping[str, int], target: Target) -> Dense | None:
    """`kernel` with these choices; None where they do not fit the registers."""
    tile = tile_of(kernel.tile, choice)
    if not fits_registers(tile, target):
        return None
    return replace(kernel, tile=tile, row_block=choice["row_block"], share_rows=bool(choice["all_channels"]))


def winograd_values(kernel: Winograd, target: Target) -> dict[str, tuple[int, ...]]:
    """Of the products' tile; `row_block` rows of tiles in a task."""
    rows, columns = kernel.image_tiles
    return {
        **tile_values(kernel.tile, rows * columns, kernel.padded_columns),
        "row_block": divisors(rows, rows),
    }


def winograd_read(kernel: Winograd) -> dict[str, int]:
    """The choices that `kernel` stands for."""
    return {**read_tile(kernel.tile), "row_block": kernel.row_block}


def winograd_write(kernel: Winograd, choice: Mapping[str, int], target: Target) -> Winograd | None:
    """`kernel` with these choices; None where they do not fit the registers, or tiles do not divide a task."""
    tile = tile_of(kernel.tile, choice)
    if choice["row_block"] * kernel.image_tiles[1] % tile.rows or not fits_registers(tile, target):
        return None
    return replace(kernel, tile=tile, row_block=choice["row_block"])
