"""The memory plan: what is needed at one time never overlaps, and the arena is little larger than it must be."""

import random
from itertools import combinations

import pytest

from lwc.lower.calls import Call, View
from lwc.lower.memory import ALIGNMENT, PAGE, STAGGER, Lifetime, aligned, lifetimes, plan_arena


def view(storage: int) -> View:
    """Storage number `storage` as some tensor."""
    return View(storage, (1,), "float32")


def call(reads: tuple[int, ...], writes: tuple[int, ...]) -> Call:
    """A call that reads and writes these storages."""
    return Call("kernel", tuple(map(view, reads)), tuple(map(view, writes)))


def most_alive(needed: list[Lifetime]) -> int:
    """The most bytes that are needed during one call: no plan can do with less."""
    calls = range(max((item.last for item in needed), default=0) + 1)
    return max(sum(item.size for item in needed if item.first <= at <= item.last) for at in calls)


def checked_arena(needed: list[Lifetime]) -> int:
    """The planned arena's size, after the plan was checked."""
    offsets, size = plan_arena(needed)
    assert offsets.keys() == {item.storage for item in needed}
    assert all(offset % ALIGNMENT == 0 and offset >= 0 for offset in offsets.values())
    assert all(offsets[item.storage] + item.size <= size for item in needed)
    for a, b in combinations(needed, 2):
        if a.overlaps(b):
            start, end = sorted((a, b), key=lambda item: offsets[item.storage])
            assert offsets[start.storage] + start.size <= offsets[end.storage], (a, b)
    assert size >= most_alive(needed)
    return size


def test_random_lifetimes(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(300):
        needed = []
        for storage in range(choose.randint(0, 30)):
            first = choose.randint(0, 20)
            size = aligned(choose.choice([1, 64, 1000, 4096, choose.randint(1, 100_000)]))
            needed.append(Lifetime(storage, size, first, first + choose.randint(0, 8)))
        choose.shuffle(needed)
        print(f"lifetimes: {needed}")
        checked_arena(needed)


def test_the_plan_does_not_depend_on_the_order(seed: int) -> None:
    choose = random.Random(seed)
    needed = [Lifetime(n, aligned(choose.randint(1, 999)), n // 2, n // 2 + n % 3) for n in range(20)]
    shuffled = choose.sample(needed, len(needed))
    assert plan_arena(shuffled) == plan_arena(needed)


def chain(choose: random.Random) -> list[Lifetime]:
    """The buffers of a network in blocks: expand, filter, project, add what entered the block."""
    calls, sizes = [call((), (0,))], {0: choose.randint(1, 64) * 1000}
    entered = 0
    for block in range(choose.randint(2, 12)):
        first = 3 * block + 1
        calls += [call((entered,), (first,)), call((first,), (first + 1,))]
        calls.append(call((first + 1, entered), (first + 2,)))
        expanded = sizes[entered] * choose.choice([1, 2, 6])
        shrink = choose.choice([1, 1, 4])
        sizes |= {first: expanded, first + 1: expanded // shrink + 1, first + 2: sizes[entered] // shrink + 1}
        entered = first + 2
    return lifetimes(calls, sizes)


def test_the_arena_of_realistic_networks_is_near_the_least(seed: int) -> None:
    choose = random.Random(seed)
    excess = []
    for _ in range(100):
        needed = chain(choose)
        print(f"lifetimes: {needed}")
        excess.append(checked_arena(needed) / most_alive(needed))
    assert max(excess) <= 1.5
    assert sum(excess) / len(excess) <= 1.1


def test_a_plain_chain_needs_its_largest_pair() -> None:
    calls = [call((n - 1,) if n else (), (n,)) for n in range(5)]
    needed = lifetimes(calls, {0: 640, 1: 3200, 2: 1280, 3: 640, 4: 64})
    assert checked_arena(needed) == 3200 + 1280


def test_large_buffers_begin_at_different_places_of_a_page() -> None:
    """So that a load from the one does not wait for a store to the other."""
    calls = [call((n - 1,) if n else (), (n,)) for n in range(3)]
    offsets, _ = plan_arena(lifetimes(calls, {0: 8 * PAGE, 1: 8 * PAGE, 2: 4 * PAGE}))
    assert len({offset % PAGE for offset in offsets.values()}) >= 2
    for reader in (1, 2):
        apart = (offsets[reader] - offsets[reader - 1]) % PAGE
        assert min(apart, PAGE - apart) >= STAGGER


def test_no_buffers_need_no_arena() -> None:
    assert plan_arena([]) == ({}, 0)


def test_a_freed_gap_is_used_again() -> None:
    needed = [Lifetime(0, 128, 0, 4), Lifetime(1, 64, 0, 1), Lifetime(2, 64, 2, 3)]
    offsets, size = plan_arena(needed)
    assert offsets[1] == offsets[2]
    assert size == 192


# Lifetimes.


def test_a_lifetime_reaches_from_the_first_write_to_the_last_read() -> None:
    calls = [call((), (0,)), call((0,), (1,)), call((1,), (2,)), call((0, 2), (3,))]
    assert lifetimes(calls, {0: 4, 1: 100, 2: 64, 3: 65}) == [
        Lifetime(0, 64, 0, 3),
        Lifetime(1, 128, 1, 2),
        Lifetime(2, 64, 2, 3),
        Lifetime(3, 128, 3, 3),
    ]


def test_a_call_needs_what_it_reads_and_writes_at_one_time() -> None:
    """A kernel may read an input element after it wrote an output element."""
    first, second = lifetimes([call((), (0,)), call((0,), (1,))], {0: 64, 1: 64})
    assert first.overlaps(second)
    assert second.overlaps(first)


def test_lifetimes_one_after_the_other_do_not_overlap() -> None:
    assert not Lifetime(0, 64, 0, 1).overlaps(Lifetime(1, 64, 2, 3))


def test_storages_outside_the_arena_have_no_lifetime() -> None:
    """Inputs, outputs and weights lie elsewhere."""
    assert lifetimes([call((7, 8), (0,)), call((0,), (9,))], {0: 64}) == [Lifetime(0, 64, 0, 1)]


def test_what_nothing_reads_is_needed_while_it_is_written() -> None:
    assert lifetimes([call((), (0, 1)), call((0,), (2,))], {0: 64, 1: 64, 2: 64})[1] == Lifetime(1, 64, 0, 0)


@pytest.mark.parametrize(("size", "want"), [(0, 0), (1, 64), (63, 64), (64, 64), (65, 128)])
def test_sizes_are_whole_cache_lines(size: int, want: int) -> None:
    assert aligned(size) == want
