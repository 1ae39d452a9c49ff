"""The free choices of depthwise convolutions: pixels in registers, rows and channels of a task, how x is read."""

from collections.abc import Mapping
from dataclasses import replace

from lwc.targets.kernels.depthwise import Depthwise
from lwc.targets.kernels.quantized_depthwise import QuantizedDepthwise
from lwc.targets.kernels.tiling import RegisterTile, divisors, round_numbers, stays_on_stack
from lwc.targets.target import Target

_MOST_CHANNELS = 1024
_TILE_ROWS = (1, 2, 4)


def values(kernel: Depthwise, target: Target) -> dict[str, tuple[int, ...]]:
    """`pixels`, `tile_rows` and `vectors` in registers; `channels` and `row_block` of a task; whether it `copies`."""
    lanes, (rows, columns) = kernel.tile.lanes, kernel.output_size
    return {
        "pixels": tuple(range(1, min(columns, target.vector_registers // 2) + 1)),
        "tile_rows": tuple(n for n in _TILE_ROWS if n <= max(rows, kernel.tile_rows)),
        "vectors": divisors(kernel.channels // lanes, 4),
        "channels": _channel_blocks(kernel),
        "row_block": round_numbers(rows, kernel.row_block),
        "copies": (0, 1),
    }


def read(kernel: Depthwise) -> dict[str, int]:
    """The choices that `kernel` stands for."""
    return {
        "pixels": kernel.tile.rows,
        "tile_rows": kernel.tile_rows,
        "vectors": kernel.tile.columns // kernel.tile.lanes,
        "channels": kernel.channel_block,
        "row_block": kernel.row_block,
        "copies": int(kernel.copies),
    }


def write(kernel: Depthwise, choice: Mapping[str, int], target: Target) -> Depthwise | None:
    """`kernel` with these choices; None where they do not fit the registers, or tiles do not divide a task."""
    lanes = kernel.tile.lanes
    tile = RegisterTile(choice["pixels"], choice["vectors"] * lanes, lanes)
    accumulators = choice["pixels"] * choice["tile_rows"] * choice["vectors"]
    if accumulators + choice["vectors"] + 1 > target.vector_registers:
        return None
    if not stays_on_stack(accumulators * lanes) or choice["channels"] % tile.columns:
        return None
    if choice["row_block"] % choice["tile_rows"]:
        return None
    return replace(
        kernel,
        tile=tile,
        tile_rows=choice["tile_rows"],
        channel_block=choice["channels"],
        row_block=choice["row_block"],
        copies=bool(choice["copies"]),
    )


def quantized_values(kernel: QuantizedDepthwise, target: Target) -> dict[str, tuple[int, ...]]:
    """`pixels` in registers; `channels` and `row_block` of a task."""
    rows, columns = kernel.output_size
    return {
        "pixels": tuple(range(1, min(columns, target.vector_registers // 2) + 1)),
        "channels": _channel_blocks(kernel),
        "row_block": round_numbers(rows, kernel.row_block),
    }


def quantized_read(kernel: QuantizedDepthwise) -> dict[str, int]:
    """The choices that `kernel` stands for."""
    return {"pixels": kernel.tile.rows, "channels": kernel.channel_block, "row_block": kernel.row_block}


def quantized_write(
    kernel: QuantizedDepthwise, choice: Mapping[str, int], target: Target
) -> QuantizedDepthwise | None:
    """`kernel` with these choices; None where its accumulators do not stay in registers."""
    tile = RegisterTile(choice["pixels"], kernel.tile.columns, kernel.tile.lanes)
    if choice["pixels"] > 1 and not stays_on_stack(tile.rows * tile.columns):
        return None
    return replace(kernel, tile=tile, channel_block=choice["channels"], row_block=choice["row_block"])


def _channel_blocks(kernel: Depthwise | QuantizedDepthwise) -> tuple[int, ...]:
    """What divides the channels in whole tiles of the narrowest."""
    lanes = kernel.tile.lanes
    most = max(1, _MOST_CHANNELS // lanes)
    return tuple(lanes * count for count in divisors(kernel.channels // lanes, most))
