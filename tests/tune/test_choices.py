"""Every kernel that a space gives is right: random choices for layers of every kind, beside PyTorch."""

import random
from pathlib import Path

import pytest
import torch

from lwc.targets.kernels.search_space import Choice, space_of, with_choice
from lwc.tune.bench import Batch, Bench
from lwc.tune.measure import Measured
from lwc.tune.search import next_choices
from lwc.tune.tasks import Task
from lwc.tune.workers import Workers
from tests.tune.layers import LOCAL, TARGET, TOOLCHAIN, float_tasks, integer_tasks

KINDS_IN_FLOAT = {"Conv2d", "Separable", "Depthwise", "Winograd", "Gemm"}
KINDS_ON_INTEGERS = {"QuantizedGemm", "QuantizedConv2d", "QuantizedDepthwise"}


def drawn_tasks(kind: str, rng: torch.Generator) -> list[Task]:
    if kind == "integers":
        return integer_tasks(rng)
    channels, size = (int(torch.randint(low, high, (), generator=rng)) for low, high in ((4, 40), (15, 40)))
    return float_tasks(2 * channels, size, rng)


def random_choices(task: Task, count: int, seed: int) -> list[Choice]:
    return next_choices(task.kernel, TARGET, [], count, random.Random(seed))


@pytest.mark.parametrize("kind", ["float32", "integers"])
def test_a_kernel_is_one_of_its_space(kind: str, rng: torch.Generator) -> None:
    tasks = drawn_tasks(kind, rng)
    for task in tasks:
        space = space_of(task.kernel)
        assert space is not None
        assert with_choice(task.kernel, space.read(task.kernel), TARGET) == task.kernel
    found = {type(task.kernel).__name__ for task in tasks}
    if kind == "integers":
        assert found == KINDS_ON_INTEGERS
    else:
        # Which kernels the others get depends on what they cost for these shapes.
        assert {"Conv2d", "Depthwise", "Gemm"} <= found <= KINDS_IN_FLOAT


def test_what_is_not_in_a_space_makes_no_kernel(rng: torch.Generator) -> None:
    for task in float_tasks(16, 17, rng):
        space = space_of(task.kernel)
        assert space is not None
        own = space.read(task.kernel)
        name = next(iter(own))
        for other in ({}, {**own, "more": 1}, {**own, name: 0}, {**own, name: 10**6}):
            assert with_choice(task.kernel, other, TARGET) is None


@pytest.mark.parametrize("kind", ["float32", "integers"])
def test_proposals_are_new_kernels(kind: str, rng: torch.Generator, seed: int) -> None:
    for task in drawn_tasks(kind, rng)[:4]:
        known = [(choice, 1.0) for choice in random_choices(task, 50, seed)]
        more = next_choices(task.kernel, TARGET, known, 50, random.Random(seed + 1))
        made = [with_choice(task.kernel, choice, TARGET) for choice in [*(c for c, _ in known), *more]]
        assert None not in made
        assert task.kernel not in made
        assert all(kernel not in made[:place] for place, kernel in enumerate(made))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", "integers"])
def test_random_choices_give_what_pytorch_gives(
    kind: str, tmp_path: Path, rng: torch.Generator, seed: int
) -> None:
    tasks = drawn_tasks(kind, rng)[:8]
    with Workers(2) as workers:
        bench = Bench(TARGET, TOOLCHAIN, 2, workers, LOCAL, tmp_path, seed)
        for few in (tasks[place : place + 2] for place in range(0, len(tasks), 2)):
            batches = [Batch(task.call, tuple(random_choices(task, 7, seed))) for task in few]
            for batch, outcomes in zip(batches, bench.try_each(batches, checked=True), strict=True):
                assert isinstance(outcomes, list), f"{batch.call.operator}: {outcomes}"
                for choice, outcome in zip(batch.choices, outcomes, strict=True):
                    assert isinstance(outcome, Measured), f"{batch.call.operator} {choice}: {outcome}"
