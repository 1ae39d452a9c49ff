"""fold-constants: what depends on no input is computed once."""

import pytest
import torch
from torch import nn

from lwc.passes.fold_constants import FoldConstants
from lwc.pipeline import Pipeline, run_pipeline
from tests.programs import Compute, operators, program_of, reasons, rewrite

SHAPE = (3, 4)


class Table(nn.Module):
    """Holds a parameter to compute constants from."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(4, 3))


def test_a_chain_of_constants_becomes_one(rng: torch.Generator) -> None:
    program = program_of(lambda t, x: x + t.values.t().exp() * 2, SHAPE, rng=rng, parts=(Table(),))
    after, record = rewrite("fold-constants", program, rng)
    assert record.count == 1
    assert operators(after) == ["aten.add.Tensor"]
    assert len(list(after.module.state_dict())) == 1


def test_each_constant_that_the_rest_reads_counts(rng: torch.Generator) -> None:
    def function(table: Table, x: torch.Tensor) -> torch.Tensor:
        scale = table.values.t().exp()
        return x * scale + scale.sqrt()

    after, record = rewrite("fold-constants", program_of(function, SHAPE, rng=rng, parts=(Table(),)), rng)
    assert record.count == 2
    assert operators(after) == ["aten.mul.Tensor", "aten.add.Tensor"]


def test_constants_that_no_tensor_feeds_are_folded(rng: torch.Generator) -> None:
    program = program_of(lambda x: x + torch.arange(4) * torch.ones(4), SHAPE, rng=rng)
    after, record = rewrite("fold-constants", program, rng)
    assert record.count == 1
    assert operators(after) == ["aten.add.Tensor"]


def test_a_part_of_a_split_constant_is_folded(rng: torch.Generator) -> None:
    program = program_of(
        lambda t, x: x + t.values.t().split(2, dim=1)[1].sum(), SHAPE, rng=rng, parts=(Table(),)
    )
    after, record = rewrite("fold-constants", program, rng)
    assert record.count == 1
    assert operators(after) == ["aten.add.Tensor"]


def test_a_result_that_is_constant_is_folded(rng: torch.Generator) -> None:
    program = program_of(lambda t, x: (x.exp(), t.values.exp()), SHAPE, rng=rng, parts=(Table(),))
    after, record = rewrite("fold-constants", program, rng)
    assert record.count == 1
    assert operators(after) == ["aten.exp.default"]


def test_what_depends_on_an_input_stays(rng: torch.Generator) -> None:
    program = program_of(lambda t, x: x @ t.values, SHAPE, rng=rng, parts=(Table(),))
    after, record = rewrite("fold-constants", program, rng)
    assert (record.count, record.refusals) == (0, ())
    assert operators(after) == operators(program)


@pytest.mark.parametrize(("limit", "count"), [(11, 0), (12, 1)])
def test_a_constant_larger_than_the_limit_is_refused(limit: int, count: int, rng: torch.Generator) -> None:
    program = program_of(lambda t, x: x + t.values.t(), SHAPE, rng=rng, parts=(Table(),))
    _, record = rewrite(f"fold-constants{{max-elements={limit}}}", program, rng)
    assert record.count == count
    assert reasons(record) == [f"its value has more than {limit} elements"] * (1 - count)


def test_random_numbers_are_not_constants(rng: torch.Generator) -> None:
    program = program_of(lambda x: x + torch.rand(4) * 2, SHAPE, rng=rng)
    after, records = run_pipeline(Pipeline.parse("fold-constants"), program)
    assert records[0].count == 0
    assert reasons(records[0]) == ["it is random"]
    assert operators(after) == operators(program)


def test_a_branch_on_a_tensor_keeps_its_two_graphs(rng: torch.Generator) -> None:
    """They are attributes of the module like the constants, but no tensors."""

    def function(x: torch.Tensor) -> torch.Tensor:
        chosen: torch.Tensor = torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))
        return chosen

    program = program_of(Compute(function), SHAPE, rng=rng)
    _, record = rewrite("fold-constants", program, rng)
    assert (record.count, record.refusals) == (0, ())


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="max-elements -1: out of range; give 0 or more"):
        FoldConstants(max_elements=-1)
