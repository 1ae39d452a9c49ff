"""The example package examples/merge-clamps: two clamps in a row become one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls
from tests.programs import Compute, operators, program_of, reasons, rewrite

FOLDER = Path(__file__).parents[1] / "examples" / "merge-clamps"
PASS = f"{FOLDER / 'merge_clamps.py'}:MergeClamps"
IMAGE = (2, 4, 7, 6)
CLAMP = torch.ops.aten.clamp.default

Function = Callable[[torch.Tensor], torch.Tensor]

CLAMPS: dict[str, Function] = {
    "relu": torch.relu,
    "relu6": functional.relu6,
    "hardtanh": functional.hardtanh,
    "clamp": lambda x: x.clamp(-0.5, 0.75),
    "clamp above one": lambda x: x.clamp(1.25, 2),
    "clamp below zero": lambda x: x.clamp(-2, -1.5),
    "clamp from below": lambda x: x.clamp(min=0.25),
    "clamp from above": lambda x: x.clamp(max=0.5),
    "clamp to infinity": lambda x: x.clamp(-0.5, float("inf")),
    "clamp_min": lambda x: x.clamp_min(-0.25),
    "clamp_max": lambda x: x.clamp_max(-0.25),
}


@pytest.mark.parametrize("first", CLAMPS)
def test_merges_with_each_other(first: str, rng: torch.Generator) -> None:
    # The input, too, is in the sum: a constant has no scale to compare with.
    program = program_of(
        lambda x: [second(CLAMPS[first](x)) + x for second in CLAMPS.values()], IMAGE, rng=rng
    )
    after, record = rewrite(PASS, program, rng)
    assert record.count == len(CLAMPS)
    assert operators(after) == ["aten.clamp.default", "aten.add.Tensor"] * len(CLAMPS)


BOUNDS: dict[str, tuple[Function, tuple[float | None, float | None]]] = {
    "the narrower of two": (lambda x: functional.relu6(x).clamp(1, 9), (1, 6)),
    "one from each side": (lambda x: x.clamp(max=2).clamp(min=-1), (-1, 2)),
    "none above": (lambda x: x.clamp(min=2).relu(), (2, None)),
    "none below": (lambda x: x.clamp(max=2).clamp(max=3), (None, 2)),
    "the second's upper bound, below the first": (lambda x: x.clamp(3, 4).clamp(1, 2), (2, 2)),
    "the second's lower bound, above the first": (lambda x: x.clamp(1, 2).clamp(min=3), (3, 3)),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_the_bounds_are(name: str, rng: torch.Generator) -> None:
    function, want = BOUNDS[name]
    after, record = rewrite(PASS, program_of(function, IMAGE, rng=rng), rng)
    assert record.count == 1
    (clamp,) = calls(after.module.graph, CLAMP)
    assert clamp.args[1:] == want


def test_a_row_of_three_becomes_one(rng: torch.Generator) -> None:
    after, record = rewrite(
        PASS, program_of(lambda x: x.relu().clamp(max=3).clamp(1, 2), IMAGE, rng=rng), rng
    )
    assert record.count == 2
    assert operators(after) == ["aten.clamp.default"]


def test_what_is_not_a_number_stays_so(rng: torch.Generator) -> None:
    program = program_of(lambda x: x.relu().clamp(max=1), IMAGE, rng=rng)
    after, _ = rewrite(PASS, program, rng)
    assert after.module(torch.full(IMAGE, torch.nan)).isnan().all()


def test_then_the_convolution_takes_the_one_that_is_left(rng: torch.Generator) -> None:
    layers = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Hardtanh(-1, 0.5))
    passes = f"raise-operators,{PASS},fuse-activation"
    after, record = rewrite(passes, program_of(layers, IMAGE, rng=rng), rng)
    assert record.count == 1
    assert operators(after) == ["lwc.conv2d.default"]


OTHER_USER = "the first clamp has another user, for which it would stay"
INFINITE = "a lower bound is infinity, or an upper bound minus infinity"
INFINITY = float("inf")
REFUSED: dict[str, tuple[Function, str]] = {
    "another user of the first": (lambda x: (y := x.relu()).clamp(max=1) + y, OTHER_USER),
    "the first is a result": (lambda x: (y := x.relu(), y.clamp(max=1)), OTHER_USER),  # type: ignore[dict-item, return-value]
    "integers": (
        lambda x: x + (x * 8).to(torch.int32).relu().clamp(max=3),
        "the clamps read integers, which a float bound would promote",
    ),
    "a bound that is not a number": (
        lambda x: torch.stack((x, x.relu().clamp(max=float("nan")).isnan() + 1.0)),
        "a bound is not a number",
    ),
    "reversed first": (lambda x: x.clamp(1, -1).clamp(max=3), "the first clamp's bounds are reversed"),
    "reversed second": (lambda x: x.relu().clamp(1, -1), "the second clamp's bounds are reversed"),
    "lower infinity": (lambda x: x + 1 / x.relu().clamp(min=INFINITY), INFINITE),
    "upper minus infinity": (lambda x: x + 1 / x.clamp(max=-INFINITY).clamp(max=3), INFINITE),
    "no bounds": (
        lambda x: x.clamp(min=-INFINITY).clamp(max=INFINITY),
        "neither of them has a bound",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, reason = REFUSED[name]
    program = program_of(function, IMAGE, rng=rng)
    after, record = rewrite(PASS, program, rng)
    assert (record.count, reasons(record)) == (0, [reason])
    assert operators(after) == operators(program)


NO_CANDIDATES: dict[str, Function] = {
    "one clamp": torch.relu,
    "something between": lambda x: (x.relu() + 1).clamp(max=3),
    "a curve": lambda x: torch.tanh(x.relu()),
    "a clamp between tensors": lambda x: x.relu().clamp(max=x.mean()),
}


@pytest.mark.parametrize("name", NO_CANDIDATES)
def test_leaves(name: str, rng: torch.Generator) -> None:
    _, record = rewrite(PASS, program_of(Compute(NO_CANDIDATES[name]), IMAGE, rng=rng), rng)
    assert (record.count, record.refusals) == (0, ())


@pytest.mark.parametrize("length", [4, 9])
def test_a_random_network(length: int, rng: torch.Generator) -> None:
    names = list(CLAMPS)
    drawn = [names[int(torch.randint(len(names), (), generator=rng))] for _ in range(length)]
    layers = (nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1))

    def network(first: nn.Module, second: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = first(x)
        for name in drawn:
            y = CLAMPS[name](y)
        z: torch.Tensor = second(x + torch.relu(functional.relu6(y)))
        return z

    after, record = rewrite(PASS, program_of(network, IMAGE, rng=rng, parts=layers), rng)
    assert record.count == length + 1
    assert operators(after).count("aten.clamp.default") == 1
