"""sink-transposes: one transpose alone, of an input (2, 6, 4, 5) in NHWC, and what it must not move through."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.pipeline import Pipeline, run_pipeline
from tests.passes.test_sink_transposes import PERMUTE
from tests.programs import operators, program_of, rewrite

ALONE = "remove-identities,fold-constants,sink-transposes"
NHWC = (2, 6, 4, 5)


def image(x: torch.Tensor) -> torch.Tensor:
    """The input in NCHW: (2, 5, 6, 4)."""
    return x.permute(0, 3, 1, 2)


Function = Callable[[torch.Tensor], Any]
WITH_ANOTHER_USER: dict[str, Function] = {
    "of the transpose": lambda x: (image(x).relu(), image(x).softmax(1)),
    "of the transpose that meets its inverse": lambda x: ((y := image(x)).permute(0, 2, 3, 1), y.softmax(1)),
    "of the tokens before they turn": lambda x: ((y := image(x).flatten(2)).transpose(1, 2), y.softmax(1)),
}


@pytest.mark.parametrize("name", WITH_ANOTHER_USER)
def test_another_user_reads_what_it_read(name: str, rng: torch.Generator) -> None:
    after, record = rewrite(ALONE, program_of(WITH_ANOTHER_USER[name], NHWC, rng=rng), rng)
    assert record.count == 1
    assert "aten.softmax.int" in operators(after)


def test_a_constant_without_axes_does_not_widen_the_type(rng: torch.Generator) -> None:
    program = program_of(lambda x: image(x) + torch.tensor(0.5, dtype=torch.float64), NHWC, rng=rng)
    after, record = rewrite(ALONE, program, rng)
    assert record.count == 1
    assert operators(after) == ["aten.add.Tensor", PERMUTE]


def test_keeps_what_reads_constants_alone(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: own.weight.relu() * x.sum(), NHWC, rng=rng, parts=(nn.Conv2d(3, 4, 3),)
    )
    after, record = rewrite("sink-transposes", program, rng)
    assert record.count == 0
    assert operators(after) == operators(program)


KEPT: dict[str, Function] = {
    # A pair that is none.
    "the transpose twice": lambda x: image(image(x)),
    "rows and columns swapped": lambda x: image(x).permute(0, 1, 3, 2),
    "the inverse twice": lambda x: x.permute(0, 2, 3, 1).permute(0, 2, 3, 1),
    # Element by element.
    "softmax": lambda x: image(x).softmax(1),
    "no transpose": torch.relu,
    "a sum with an image that is no transpose": lambda x: image(x) + x.reshape(2, 5, 6, 4),
    "a sum with computed columns": lambda x: image(x) + x.mean((0, 1, 3)),
    "a sum with a computed number": lambda x: image(x) + x.mean(),
    "a sum with a constant of five axes": lambda x: image(x) + torch.arange(3.0).reshape(3, 1, 1, 1, 1),
    # Concatenations.
    "a concatenation with what is no transpose": lambda x: torch.cat([image(x), x.reshape(2, 5, 6, 4)], 1),
    "a concatenation of no transposes": lambda x: torch.cat([x, x], 3),
    "a concatenation along a new axis": lambda x: torch.stack([image(x), image(x)], 1),
    # Averages.
    "a mean over channels": lambda x: image(x).mean(1),
    "a mean over rows": lambda x: image(x).mean(2),
    "a mean over channels, rows and columns": lambda x: image(x).mean((1, 2, 3)),
    "a mean over everything": lambda x: torch.mean(image(x), dim=None, keepdim=True),
    "a maximum over rows and columns": lambda x: image(x).amax((2, 3)),
    "a mean of no transpose": lambda x: x.mean((2, 3)),
    "pooling of no transpose": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "pooling to a row": lambda x: functional.adaptive_avg_pool2d(image(x), (1, 2)),
    "pooling to a column": lambda x: functional.adaptive_avg_pool2d(image(x), (2, 1)),
    "pooling to four pixels": lambda x: functional.adaptive_avg_pool2d(image(x), 2),
    # Interpolation.
    "an interpolated image": lambda x: functional.interpolate(image(x), size=(3, 2), mode="bilinear"),
    "an interpolated row": lambda x: functional.interpolate(image(x[:, :1]), size=(3, 2), mode="bilinear"),
    "an interpolated column": lambda x: functional.interpolate(
        image(x[:, :, :1]), size=(3, 2), mode="bilinear"
    ),
    "a pixel that is repeated otherwise": lambda x: functional.interpolate(image(x[:, :1, :1]), size=(3, 2)),
    "a pixel of no transpose": lambda x: functional.interpolate(
        x[:, :, :1, :1], size=(3, 2), mode="bilinear"
    ),
    # Flattened.
    "a flattened image": lambda x: image(x).flatten(1),
    "a flattened row": lambda x: image(x[:, :1]).flatten(1),
    "a flattened column": lambda x: image(x[:, :, :1]).flatten(1),
    "a flattened pixel of no transpose": lambda x: x[:, :, :1, :1].flatten(1),
    "a pixel squeezed, not reshaped": lambda x: image(x[:, :1, :1]).squeeze((2, 3)),
    # Tokens.
    "tokens that do not turn": lambda x: image(x).flatten(2),
    "images and channels swapped": lambda x: image(x).flatten(2).transpose(0, 1),
    "all three axes turned": lambda x: image(x).flatten(2).permute(2, 1, 0),
    "rows as channels": lambda x: image(x).reshape(2, 30, 4).transpose(1, 2),
    "images joined": lambda x: image(x).reshape(1, 10, 24).transpose(1, 2),
    "channels and pixels of four axes": lambda x: image(x).reshape(2, 5, 24, 1).transpose(1, 2),
    "pixels in two axes": lambda x: image(x).reshape(2, 5, 8, 3).transpose(2, 3),
    "tokens of no reshape": lambda x: image(x).sum(3).transpose(1, 2),
    "tokens of no transpose": lambda x: x.flatten(2).transpose(1, 2),
}


@pytest.mark.parametrize("name", KEPT)
def test_keeps(name: str, rng: torch.Generator) -> None:
    program = program_of(KEPT[name], NHWC, rng=rng)
    after, record = rewrite(ALONE, program, rng)
    without, _ = run_pipeline(Pipeline.parse("remove-identities,fold-constants"), program)
    assert record.count == 0
    assert operators(after) == operators(without)
