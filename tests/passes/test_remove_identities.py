"""remove-identities: what changes nothing goes, what changes something stays."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.pipeline import Pipeline, run_pipeline
from tests.programs import operators, program_of, rewrite

IMAGE = (2, 4, 6, 5)
Function = Callable[[torch.Tensor], torch.Tensor]

IDENTITIES: dict[str, Function] = {
    "dropout in evaluation": lambda x: functional.dropout(x, 0.5, training=False),
    "copy": lambda x: x.clone(),
    "detach": lambda x: x.detach(),
    "view to the same shape": lambda x: x.view(2, 4, 6, 5),
    "reshape to the same shape": lambda x: x.reshape(IMAGE),
    "flatten of one axis": lambda x: x.flatten(3),
    "expand to the same shape": lambda x: x.expand(2, -1, 6, 5),
    "whole slice": lambda x: x[:, 0:4],
    "contiguous": lambda x: x.transpose(0, 0).contiguous(),
    "cast to the same type": lambda x: x.to(torch.float32),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_removes_what_changes_nothing(name: str, rng: torch.Generator) -> None:
    program = program_of(lambda x: IDENTITIES[name](x).tanh(), IMAGE, rng=rng)
    after, _ = rewrite("remove-identities", program, rng)
    assert [o for o in operators(after) if "transpose" not in o] == ["aten.tanh.default"]


def test_counts_what_it_removed(rng: torch.Generator) -> None:
    dropouts = nn.Sequential(nn.Dropout(0.1), nn.Tanh(), nn.Dropout(0.2))
    _, record = rewrite("remove-identities", program_of(dropouts, IMAGE, rng=rng), rng)
    assert record.count == 2


CHAINS: dict[str, tuple[Function, int]] = {
    "two reshapes": (lambda x: x.view(8, 30).view(2, 4, 30), 1),
    "three reshapes": (lambda x: x.view(8, 30).flatten().reshape(2, 120), 1),
    "a reshape and back": (lambda x: x.view(8, 30).view(IMAGE), 0),
    "a copy between": (lambda x: x.view(8, 30).clone().view(2, 120), 1),
}


@pytest.mark.parametrize("name", CHAINS)
def test_one_reshape_at_most_is_left_of_a_chain(name: str, rng: torch.Generator) -> None:
    function, left = CHAINS[name]
    after, record = rewrite(
        "remove-identities", program_of(lambda x: function(x).tanh(), IMAGE, rng=rng), rng
    )
    assert record.count >= 1
    assert operators(after) == ["aten.reshape.default"] * left + ["aten.tanh.default"]


def test_a_reshape_that_is_read_twice_stays_for_its_other_reader(rng: torch.Generator) -> None:
    program = program_of(lambda x: (x.view(8, 30).exp(), x.view(8, 30).view(2, 120).tanh()), IMAGE, rng=rng)
    after, record = rewrite("remove-identities", program, rng)
    assert record.count == 1
    assert operators(after).count("aten.reshape.default") == 2


def test_reshapes_with_other_operators_between_stay(rng: torch.Generator) -> None:
    program = program_of(lambda x: x.view(8, 30).t().exp().t().reshape(2, 120), IMAGE, rng=rng)
    _, record = rewrite("remove-identities", program, rng)
    assert record.count == 0


DIFFERENCES: dict[str, tuple[Function, str]] = {
    "cast": (lambda x: x.to(torch.float64), "aten._to_copy.default"),
    "slice": (lambda x: x[:, 1:], "aten.slice.Tensor"),
    "reshape": (lambda x: x.view(8, 30), "aten.reshape.default"),
    "expand": (lambda x: x[:1].expand(3, -1, -1, -1), "aten.expand.default"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_keeps_what_changes_something(name: str, rng: torch.Generator) -> None:
    function, operator = DIFFERENCES[name]
    after, _ = rewrite("remove-identities", program_of(function, IMAGE, rng=rng), rng)
    assert operator in operators(after)


def test_keeps_dropout_in_training(rng: torch.Generator) -> None:
    program = program_of(lambda x: functional.dropout(x, 0.5, training=True), IMAGE, rng=rng)
    after, records = run_pipeline(Pipeline.parse("remove-identities"), program)
    assert records[0].count == 0
    assert "aten.native_dropout.default" in operators(after)


def test_a_view_of_a_copy_becomes_a_reshape(rng: torch.Generator) -> None:
    """A view of the transposed tensor itself would not exist."""
    program = program_of(lambda x: x.transpose(1, 2).contiguous().view(2, 120), IMAGE, rng=rng)
    after, record = rewrite("remove-identities", program, rng)
    assert record.count == 1
    assert operators(after) == ["aten.transpose.int", "aten.reshape.default"]
