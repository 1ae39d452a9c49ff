"""Static memory: which storages are alive when, and where each lies in one arena."""

from dataclasses import dataclass

from lwc.lower.calls import Call

# A cache line, and the widest vector load.
ALIGNMENT = 64
# A load has to wait for an earlier store to an address with the same lower twelve bits ("4K aliasing" in Intel's
# optimization manual). So buffers of a page and more do not all begin at the same place of one: a tile that is read
# lies beside the one that is written.
PAGE, STAGGER = 4096, 320


@dataclass(frozen=True)
class Lifetime:
    """A storage that takes `size` bytes of the arena, and is needed from call `first` to call `last`, both included."""

    storage: int
    size: int
    first: int
    last: int

    def overlaps(self, other: "Lifetime") -> bool:
        """Whether both are needed during some call."""
        return self.first <= other.last and other.first <= self.last


def aligned(size: int) -> int:
    """`size` rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def staggered(size: int) -> int:
    """What a storage of `size` bytes takes in the arena."""
    return aligned(size) + (STAGGER if size >= PAGE else 0)


def lifetimes(calls: list[Call], sizes: dict[int, int]) -> list[Lifetime]:
    """The lifetime of each storage in `sizes` (bytes): from the call that writes it to the last that reads it."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for position, call in enumerate(calls):
        for view in (*call.reads, *call.writes):
            if view.storage in sizes:
                first.setdefault(view.storage, position)
                last[view.storage] = position
    return [Lifetime(s, staggered(sizes[s]), first[s], last[s]) for s in first]


def plan_arena(needed: list[Lifetime]) -> tuple[dict[int, int], int]:
    """Offsets in bytes, and the size of the arena: the largest first, each at the lowest offset that is free.

    The greedy-by-size strategy of Pisarchyk and Lee, "Efficient memory management for deep neural net inference"
    (2020), arXiv 2001.03288, section 5.
    """
    offsets: dict[int, int] = {}
    placed: list[Lifetime] = []
    for lifetime in sorted(needed, key=lambda item: (-item.size, item.first, item.storage)):
        offset = 0
        neighbours = [other for other in placed if other.overlaps(lifetime)]
        for other in sorted(neighbours, key=lambda item: offsets[item.storage]):
            if offset + lifetime.size <= offsets[other.storage]:
                break
            offset = max(offset, offsets[other.storage] + other.size)
        offsets[lifetime.storage] = offset
        placed.append(lifetime)
    size = max((offsets[item.storage] + item.size for item in placed), default=0)
    return offsets, size
