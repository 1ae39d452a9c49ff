"""prune-channels on residual networks with random zero rows."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.passes.pruned_networks import PASSES, pruned_program, silence, weight_shapes
from tests.programs import Compute, rewrite


@pytest.mark.parametrize("seed", range(5))
def test_random_rows_of_a_residual_network(seed: int, rng: torch.Generator) -> None:
    """Each layer of a stem and two inverted residual blocks loses random channels; the stream loses the same."""
    rng.manual_seed(seed)
    stem = nn.Conv2d(3, 8, 3, padding=1)
    blocks = [
        (nn.Conv2d(8, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(12, 8, 1))
        for _ in range(2)
    ]

    def network(*arguments: Any) -> torch.Tensor:
        first, *layers, head, x = arguments
        y: torch.Tensor = first(x)
        for expand, depthwise, project in zip(*[iter(layers)] * 3, strict=True):
            y = y + project(depthwise(expand(y).relu()).relu())
        return head(y.mean((2, 3)))  # type: ignore[no-any-return]

    stream = torch.randperm(8, generator=rng)[:3].tolist()
    hidden = [torch.randperm(12, generator=rng)[:number].tolist() for number in (5, 7)]

    def edit() -> None:
        silence(stem, *stream)
        for (expand, _, project), channels in zip(blocks, hidden, strict=True):
            silence(expand, *channels)
            silence(project, *stream)

    head = nn.Linear(8, 4)
    module = Compute(network, stem, *(layer for block in blocks for layer in block), head)
    after, record = rewrite(PASSES, pruned_program(module, rng, edit), rng)
    assert record.count >= 3
    assert record.refusals == ()
    assert weight_shapes(after) == [
        (5, 3, 3, 3),
        *[(7, 5, 1, 1), (7, 1, 3, 3), (5, 7, 1, 1)],
        *[(5, 5, 1, 1), (5, 1, 3, 3), (5, 5, 1, 1)],
        (4, 5),
    ]
