"""merge-transposes: reshapes and transposes in a row become one transpose at most."""

import random
from collections.abc import Callable

import pytest
import torch

from tests.programs import Shape, operators, program_of, rewrite

# torch.export puts copies between them, which have to go first.
PASSES = "remove-identities,merge-transposes"
RESHAPE, PERMUTE = "aten.reshape.default", "aten.permute.default"
MERGED = [RESHAPE, PERMUTE, RESHAPE]


def patches(x: torch.Tensor) -> torch.Tensor:
    """MobileViT's way from an image in NHWC to patches of tokens."""
    n, h, w, c = x.shape
    x = x.permute(0, 3, 1, 2).reshape(n * c * h // 2, 2, w // 2, 2).transpose(1, 2)
    x = x.reshape(n, c, h * w // 4, 4).transpose(1, 3)
    return x.reshape(n * 4, h * w // 4, c)


def image(x: torch.Tensor) -> torch.Tensor:
    """MobileViT's way back, from patches of tokens (2 4, 6, 3) to an image (2, 4, 6, 3) in NHWC."""
    x = x.view(2, 4, 6, 3).transpose(1, 3)
    x = x.reshape(2 * 3 * 2, 3, 2, 2).transpose(1, 2)
    return x.reshape(2, 3, 4, 6).permute(0, 2, 3, 1)


CHAINS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Shape, list[str]]] = {
    "image to patches": (patches, (2, 4, 6, 3), MERGED),
    "patches to image": (image, (8, 6, 3), MERGED),
    "there and back": (lambda x: x.permute(0, 3, 1, 2).permute(0, 2, 3, 1), (2, 4, 6, 3), []),
    "two that make one": (lambda x: x.transpose(0, 1).transpose(2, 3), (2, 3, 4, 5), [PERMUTE]),
    "one of a single pixel": (lambda x: x.permute(0, 3, 1, 2), (2, 1, 1, 5), [RESHAPE]),
    "one of a single row": (lambda x: x.t(), (1, 5), [RESHAPE]),
    "one with squeezes": (lambda x: x.unsqueeze(1).transpose(0, 1).squeeze(0), (4, 5), []),
    "two around a reshape": (lambda x: x.t().reshape(3, 8).t(), (4, 6), MERGED),
    "none of a single element": (lambda x: x.t(), (1, 1), []),
}


@pytest.mark.parametrize("name", CHAINS)
def test_merges(name: str, rng: torch.Generator) -> None:
    function, shape, want = CHAINS[name]
    after, record = rewrite(PASSES, program_of(lambda x: function(x).exp(), shape, rng=rng), rng)
    assert record.count == 1
    assert operators(after) == [*want, "aten.exp.default"]


LEFT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "one transpose": lambda x: x.transpose(0, 2),
    "one between reshapes": lambda x: x.reshape(4, 6, 5).transpose(0, 1).reshape(2, 60),
    "a reshape": lambda x: x.view(6, 20),
    "two that no single one replaces": lambda x: x.reshape(20, 6).t().reshape(8, 15).t(),
    "no more than a second user allows": lambda x: (y := x.transpose(0, 1)).transpose(1, 2).exp() + y.sum(),
}


@pytest.mark.parametrize("name", LEFT)
def test_leaves(name: str, rng: torch.Generator) -> None:
    program = program_of(LEFT[name], (2, 3, 4, 5), rng=rng)
    after, record = rewrite("merge-transposes", program, rng)
    assert record.count == 0
    assert operators(after) == operators(program)


def test_merges_random_chains(seed: int, rng: torch.Generator) -> None:
    """Whatever the chain, one transpose is left at most, and the elements lie where they did."""
    choose = random.Random(seed)
    for _ in range(5):
        shapes = [
            choose.sample(factors, len(factors))
            for factors in ([2, 3, 4], [6, 4], [2, 2, 6], [3, 8], [1, 24])
        ]
        orders = [choose.sample(range(len(shape)), len(shape)) for shape in shapes]
        steps = list(zip(shapes, orders, strict=True))

        def function(x: torch.Tensor, steps: list[tuple[list[int], list[int]]] = steps) -> torch.Tensor:
            for shape, order in steps:
                x = x.reshape(shape).permute(order)
            return x.exp()

        print(f"chain: {steps}")
        program = program_of(function, (4, 6), rng=rng)
        after, _ = rewrite(PASSES, program, rng)
        assert operators(after).count(PERMUTE) <= operators(program).count(PERMUTE)
