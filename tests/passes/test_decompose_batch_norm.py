"""decompose-batch-norm: a batch norm with no layer to join becomes a multiplication and an addition."""

import pytest
import torch
from torch import nn

from tests.passes.test_fold_batch_norm_guards import given_mean, given_scale, read_statistics
from tests.programs import Shape, operators, program_of, reasons, rewrite

PASS = "decompose-batch-norm"
NORM = "aten._native_batch_norm_legit_no_training.default"

NORMS: dict[str, tuple[nn.Module, Shape]] = {
    "image": (nn.BatchNorm2d(4), (2, 4, 5, 3)),
    "sequence": (nn.BatchNorm1d(4), (2, 4, 5)),
    "rows": (nn.BatchNorm1d(4), (3, 4)),
    "volume": (nn.BatchNorm3d(4), (2, 4, 3, 2, 3)),
    "without affine": (nn.BatchNorm2d(4, affine=False), (2, 4, 5, 3)),
    "large epsilon": (nn.BatchNorm2d(4, eps=0.5), (2, 4, 5, 3)),
    "as many columns as channels": (nn.BatchNorm2d(4), (2, 4, 4, 4)),
}


@pytest.mark.parametrize("name", NORMS)
def test_decomposes(name: str, rng: torch.Generator) -> None:
    module, shape = NORMS[name]
    after, record = rewrite(PASS, program_of(module, shape, rng=rng), rng)
    assert record.count == 1
    assert operators(after) == ["aten.mul.Tensor", "aten.add.Tensor"]


@pytest.mark.parametrize("variance", [0.0, 1e-30])
def test_decomposes_channels_that_hardly_vary(variance: float, rng: torch.Generator) -> None:
    program = program_of(nn.BatchNorm2d(4), (2, 4, 5, 3), rng=rng)
    dict(program.module.named_buffers())["running_var"].fill_(variance)
    _, record = rewrite(PASS, program, rng)
    assert record.count == 1


def test_decomposes_each_of_several(rng: torch.Generator) -> None:
    norms = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    _, record = rewrite(PASS, program_of(norms, (2, 4, 5, 3), rng=rng), rng)
    assert record.count == 3


IMAGE = (2, 4, 7, 6)
NOT_CONSTANT = "its statistics or its affine parameters are not constants"
CONVOLUTION = (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))


def test_refuses_where_the_statistics_are_read(rng: torch.Generator) -> None:
    after, record = rewrite(PASS, program_of(read_statistics, IMAGE, rng=rng, parts=CONVOLUTION), rng)
    assert record.count == 0
    assert reasons(record) == ["its statistics are read"]
    assert NORM in operators(after)


def test_refuses_statistics_that_are_inputs(rng: torch.Generator) -> None:
    _, record = rewrite(PASS, program_of(given_mean, IMAGE, (6,), rng=rng, parts=CONVOLUTION), rng)
    assert record.count == 0
    assert reasons(record) == [NOT_CONSTANT]


def test_refuses_a_scale_that_is_an_input(rng: torch.Generator) -> None:
    _, record = rewrite(PASS, program_of(given_scale, IMAGE, (6,), rng=rng, parts=CONVOLUTION), rng)
    assert record.count == 0
    assert reasons(record) == [NOT_CONSTANT]


def test_leaves_statistics_of_the_batch_alone(rng: torch.Generator) -> None:
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    after, record = rewrite(PASS, program_of(norm, (2, 4, 5, 3), rng=rng), rng)
    assert (record.count, record.refusals) == (0, ())
    assert "aten._native_batch_norm_legit.no_stats" in operators(after)
