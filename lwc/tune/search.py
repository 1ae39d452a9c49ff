"""Which choices of a kernel to try next: some at random, then ever more beside the best that are known.

A local search with restarts: the spaces are small (hundreds to some ten thousands of kernels), and a step in one choice
changes the time little, so that neighbours of a good kernel are good guesses.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lwc.targets.kernels.search_space import Choice, space_of, with_choice
from lwc.targets.target import Target

# The part of a batch that is drawn at random, and from how many of the best the others descend.
_RANDOM, _PARENTS = 0.3, 4
_ATTEMPTS = 200


def next_choices(
    kernel: Any,
    target: Target,
    known: Sequence[tuple[Choice, float]],
    count: int,
    rng: random.Random,
) -> list[Choice]:
    """Up to `count` choices that are not in `known`, which has each tried choice and its time; fewer near the end.

    `kernel` is the planned one, which counts as known with the time 1; choices that make the same kernel are one.
    """
    space = space_of(kernel)
    if space is None:
        return []
    values = space.values(kernel, target)
    tried = {kernel, *(with_choice(kernel, choice, target) for choice, _ in known)}
    ranked = sorted([(space.read(kernel), 1.0), *known], key=lambda pair: pair[1])
    parents = [choice for choice, _ in ranked[:_PARENTS]]
    found: list[Choice] = []
    for choice in _guesses(values, parents, rng):
        made = with_choice(kernel, choice, target)
        if made is None or made in tried:
            continue
        tried.add(made)
        found.append(choice)
        if len(found) == count:
            break
    return found


def _guesses(
    values: Mapping[str, tuple[int, ...]], parents: Sequence[Choice], rng: random.Random
) -> Iterator[Choice]:
    for _ in range(_ATTEMPTS):
        if rng.random() < _RANDOM:
            yield {name: rng.choice(options) for name, options in values.items()}
        else:
            yield _neighbour(values, rng.choice(parents), rng)


def _neighbour(values: Mapping[str, tuple[int, ...]], choice: Choice, rng: random.Random) -> Choice:
    """`choice` with one or two of its values moved by a few places."""
    moved = dict(choice)
    movable = [name for name, options in values.items() if len(options) > 1]
    for name in rng.sample(movable, min(len(movable), rng.choice((1, 1, 2)))):
        options = values[name]
        place = options.index(choice[name]) + rng.choice((-2, -1, -1, 1, 1, 2))
        moved[name] = options[min(max(place, 0), len(options) - 1)]
    return moved
