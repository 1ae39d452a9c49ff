"""The analytic choice of tile sizes: what a kernel gets where no tuning record says better."""

from dataclasses import dataclass

from lwc.targets.target import Target

# A fused multiply-add takes about four cycles and two start in each:
# fewer independent accumulators than this leave the units idle.
_ACCUMULATORS_TO_HIDE_LATENCY = 8
_LINE_BYTES = 64
PARTS = 8
# TVM keeps a buffer of fewer bytes on the stack, where LLVM finds registers for it; a larger one stays in memory.
_STACK_BYTES = 1024


@dataclass(frozen=True)
class RegisterTile:
    """`rows` x `columns` accumulators held in registers, `columns` a multiple of `lanes`."""

    rows: int
    columns: int
    lanes: int


def round_up(value: int, step: int) -> int:
    """The smallest multiple of `step` that is not below `value`."""
    return -(-value // step) * step


def largest_divisor(value: int, limit: int) -> int:
    """The largest divisor of `value` that is not above `limit`, at least 1."""
    return max(divisors(value, limit), default=1)


def divisors(value: int, limit: int) -> tuple[int, ...]:
    """The divisors of `value` up to `limit`, in order."""
    return tuple(d for d in range(1, min(value, limit) + 1) if value % d == 0)


def round_numbers(limit: int, own: int) -> tuple[int, ...]:
    """Numbers up to `limit` to try for a count, ever wider apart: 1, 2, 3, 4, 6, 8, 12 ..., `limit` and `own`."""
    powers = [1 << bits for bits in range(limit.bit_length())]
    numbers = {*powers, *(3 * power // 2 for power in powers[1:]), limit, own}
    return tuple(sorted(number for number in numbers if number <= max(limit, own)))


def fetched_lines(columns: int) -> int:
    """The cache lines of a row of `columns` float32 weights that are fetched ahead: all, where they are whole."""
    lines, rest = divmod(4 * columns, _LINE_BYTES)
    return 0 if rest else lines


def vector_lanes(columns: int, target: Target) -> int:
    """How many of `columns` one vector takes: as many as give the fewest vectors, and no more."""
    candidates = [lanes for lanes in (1, 2, 4, 8, 16) if lanes <= target.float_lanes]
    return min(candidates, key=lambda lanes: (round_up(columns, lanes) // lanes, lanes))


def store_lanes(columns: int, lanes: int) -> int:
    """The lanes of a vector that stores results: the most that divide `columns`, `lanes` where that were too few."""
    return next((n for n in (16, 8, 4) if n <= lanes and columns % n == 0), lanes)


def stored_columns(columns: int, lanes: int) -> int:
    """The columns of a result: `columns`, rounded up where no vector divides them."""
    return round_up(columns, store_lanes(columns, lanes))


class OutputChannels:
    """What the kernels of products have in common: `outputs` channels of a result, in vectors."""

    outputs: int
    tile: RegisterTile

    @property
    def stored_columns(self) -> int:
        """The channels of the result: `outputs`, rounded up where no vector divides them."""
        return stored_columns(self.outputs, self.tile.lanes)

    @property
    def padded_columns(self) -> int:
        """The channels of the product: `outputs` rounded up to whole vectors."""
        return round_up(self.outputs, self.tile.lanes)


def register_tile(
    rows: int, columns: int, target: Target, exact: bool = False, held: bool = False
) -> RegisterTile:
    """The accumulator tile for a product with `rows` x `columns` results, `columns` padded to whole vectors.

    The tile's columns always divide the padded columns; its rows divide `rows` where `exact` says so.
    `held`: each row's input stays in a register of its own, instead of all rows taking turns with one.
    """
    lanes = vector_lanes(columns, target)
    vectors = round_up(columns, lanes) // lanes
    return min(
        (
            RegisterTile(r, v * lanes, lanes)
            for v in range(1, 13)
            if vectors % v == 0
            for r in range(1, min(rows, 14) + 1)
            if fits_registers(RegisterTile(r, v * lanes, lanes), target, held) and not (exact and rows % r)
        ),
        key=lambda tile: _cost(tile, rows),
    )


def fits_registers(tile: RegisterTile, target: Target, held: bool = False) -> bool:
    """Whether a product's accumulators, and what it multiplies, find registers; `held` as for `register_tile`."""
    vectors = tile.columns // tile.lanes
    # One register for each weight vector, and one for the broadcast input or one for each row's.
    needed = tile.rows * vectors + vectors + 1 + (tile.rows if held else 0)
    return needed <= target.vector_registers and stays_on_stack(tile.rows * tile.columns)


def stays_on_stack(accumulators: int) -> bool:
    """Whether TVM keeps a tile of so many 32-bit accumulators on the stack."""
    return 4 * accumulators < _STACK_BYTES


def _cost(tile: RegisterTile, rows: int) -> float:
    """Relative time for one result: loads beside arithmetic, wasted rows, and idle units in a small tile."""
    vectors = tile.columns // tile.lanes
    accumulators = tile.rows * vectors
    waste = round_up(rows, tile.rows) / rows
    loads = tile.rows + vectors + fetched_lines(tile.columns)
    stall = max(1.0, _ACCUMULATORS_TO_HIDE_LATENCY / accumulators)
    return waste * (1 + loads / accumulators / 2) * stall


def imbalance(tasks: int, cores: int) -> float:
    """How much longer the busiest core works than it would with a fair share of `tasks`.

    The runtime cuts a loop into PARTS parts for each core (lwc/runtime/pool.c).
    """
    part = -(-tasks // (PARTS * cores))
    parts = -(-tasks // part)
    return -(-parts // cores) * part * cores / tasks


def balanced_split(blocks: int, parts_each: int, limit: int, cores: int) -> int:
    """How many of `blocks` one parallel task takes: at most `limit`, leaving each core several tasks.

    `parts_each` is the number of tasks that one group of blocks gives.
    """
    wanted = 4 * cores
    size = max(1, min(limit, blocks * parts_each // wanted))
    return min(range(max(1, size // 2), size + 1), key=lambda s: (round_up(blocks, s), -s))
