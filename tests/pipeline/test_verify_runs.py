"""What the hook says of results that are no numbers, and of graphs that cannot be run."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import fx
from torch.nn import functional

from lwc.errors import BadInputError
from lwc.graph import add_constant, aten
from lwc.pipeline.verify import DisagreementError
from lwc.trace import Program
from tests.pipeline.made import Rewrite, clip_lower, make, verified
from tests.programs import program_of


@pytest.fixture
def program(rng: torch.Generator) -> Program:
    """Two clamps."""
    return program_of(lambda x: functional.hardtanh(functional.hardtanh(x) + 1) - 1, (4, 9), rng=rng)


def times(number: float) -> Rewrite:
    """A rewrite that multiplies what a node gives."""

    def rewrite_(program: Program, node: fx.Node) -> None:
        with program.module.graph.inserting_after(node):
            product = program.module.graph.call_function(aten.mul.Tensor, (node, number))
        node.replace_all_uses_with(product, delete_user_cb=lambda user: user is not product)

    return rewrite_


@pytest.mark.parametrize(
    ("number", "result", "first"), [(math.nan, "NaN", "is NaN"), (math.inf, "infinite", "is not finite")]
)
def test_a_result_that_is_no_number_is_said_to_be_none(
    number: float, result: str, first: str, rng: torch.Generator
) -> None:
    program = program_of(lambda x: (x.abs() + 1).exp().relu() + 1, (2, 3), rng=rng)
    with pytest.raises(DisagreementError) as caught:
        verified(make(times(number), aten.exp.default), program)
    message = str(caught.value)
    assert (
        f"rewrite 1 of 1, at node 'exp', makes the result {result}; first different: relu {first}; "
        in message
    )
    assert not math.isfinite(caught.value.found.check.error)


def test_infinities_of_the_model_are_no_difference(rng: torch.Generator) -> None:
    """As those of a mask, which a softmax makes zeros of."""
    program = program_of(
        lambda x: functional.hardtanh(torch.where(x > 0, x, -math.inf).softmax(-1)) + 1, (2, 9), rng=rng
    )
    with pytest.raises(DisagreementError, match="first different: hardtanh by "):
        verified(make(lambda program, node: setattr(node, "args", (node.args[0], -1, 0.05))), program)


def overflowing(x: torch.Tensor) -> torch.Tensor:
    return functional.hardtanh(x) * 1e30 * 1e30


def not_a_number(x: torch.Tensor) -> torch.Tensor:
    return functional.hardtanh(x) / 0 * 0


@pytest.mark.parametrize("model", [overflowing, not_a_number])
def test_a_model_that_is_not_finite_is_not_compared(
    model: Callable[[torch.Tensor], torch.Tensor], rng: torch.Generator
) -> None:
    """The package's verification refuses it."""
    verifier = verified(make(clip_lower), program_of(model, (2, 3), rng=rng))
    assert (verifier.checks, verifier.compared) == ({}, 0)


def test_the_other_outputs_of_a_model_are_compared(rng: torch.Generator) -> None:
    program = program_of(lambda x: (not_a_number(x), functional.hardtanh(x)), (2, 30), rng=rng)
    with pytest.raises(DisagreementError, match="changes the result by"):
        verified(make(clip_lower), program)


def in_float32_only(program: Program, node: fx.Node) -> None:
    """A product with a matrix that a cast keeps in float32."""
    graph = program.module.graph
    with graph.inserting_before(node):
        matrix = add_constant(program.module, "unit", torch.eye(node.meta["val"].shape[-1]))
        cast = graph.call_function(aten._to_copy.default, (matrix,), {"dtype": torch.float32})
    with graph.inserting_after(node):
        product = graph.call_function(aten.matmul.default, (node, cast))
    node.replace_all_uses_with(product, delete_user_cb=lambda user: user is not product)


def out_of_range(program: Program, node: fx.Node) -> None:
    """An index that only the run of the graph shows to be wrong."""
    with program.module.graph.inserting_before(node):
        rows = add_constant(program.module, "rows", torch.full((node.meta["val"].shape[0],), 99))
    with program.module.graph.inserting_after(node):
        taken = program.module.graph.call_function(aten.index.Tensor, (node, [rows]))
    node.replace_all_uses_with(taken, delete_user_cb=lambda user: user is not taken)


@pytest.mark.parametrize(
    ("rewrite_", "kind"), [(in_float32_only, "RuntimeError"), (out_of_range, "IndexError")]
)
def test_a_graph_that_cannot_be_run_is_refused(rewrite_: Rewrite, kind: str, program: Program) -> None:
    with pytest.raises(
        BadInputError, match=rf"pass 'made' \(.*\): left a graph that cannot be run in float64 \({kind}: "
    ):
        verified(make(rewrite_), program)


def test_half_of_a_pass_may_leave_what_cannot_be_run(program: Program) -> None:
    def one_breaks_and_one_mends(program: Program, node: fx.Node) -> None:
        rewrite_ = clip_lower if node.name.endswith("_1") else out_of_range
        rewrite_(program, node)
        for call in program.module.graph.find_nodes(op="call_function", target=aten.index.Tensor):
            if node.name.endswith("_1"):
                call.replace_all_uses_with(call.args[0])

    with pytest.raises(DisagreementError, match=r"rewrite 1 of 2, at node 'hardtanh', changes the result by"):
        verified(make(one_breaks_and_one_mends), program)
