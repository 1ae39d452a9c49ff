"""The hook that runs the graph before and after each pass, on passes that are wrong in many ways."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from lwc.errors import BadInputError, VerificationError
from lwc.graph import add_constant, aten
from lwc.pipeline import Pass, Pipeline, run_pipeline
from lwc.pipeline.verify import Disagreement, Verifier
from lwc.trace import Program
from tests.pipeline.made import Rewrite, clip_lower, make, verified
from tests.programs import Compute, program_of

IMAGE = (2, 3, 8, 6)


@pytest.fixture
def program(rng: torch.Generator) -> Program:
    """Three convolutions with ReLU6 between them, so wide that some channels are alive."""
    layers = (nn.Conv2d(3, 32, 3), nn.ReLU6(), nn.Conv2d(32, 32, 1), nn.ReLU6(), nn.Conv2d(32, 2, 1))
    return program_of(nn.Sequential(*layers), IMAGE, rng=rng)


def test_right_passes_pass_and_the_difference_is_known(program: Program) -> None:
    verifier = Verifier(program)
    _, records = run_pipeline(Pipeline.parse("default"), program, (verifier,))
    assert set(verifier.checks) == {i for i, record in enumerate(records, start=1) if record.count}
    assert all(0 <= check.error <= check.limit < 1e-4 for check in verifier.checks.values())


def test_a_pass_without_a_match_needs_no_run(program: Program) -> None:
    assert verified(make(lambda program, node: None, aten.sin.default), program).checks == {}


def test_the_error_names_pass_rewrite_node_and_size(program: Program) -> None:
    found: list[Disagreement] = []

    def on_failure(disagreement: Disagreement) -> str:
        found.append(disagreement)
        return "a reproducer; "

    # Only the second rewrite changes anything.
    def second(program: Program, node: fx.Node) -> None:
        if node.name.endswith("_1"):
            node.args = (node.args[0], 0.0, 0.5)

    verifier = Verifier(program, on_failure)
    with pytest.raises(VerificationError) as caught:
        run_pipeline(Pipeline((make(second),)), program, (verifier,))
    message = str(caught.value)
    assert message.startswith("pass 'made'")
    assert "rewrite 2 of 2, at node 'hardtanh_1', changes the result by" in message
    assert "first different: hardtanh_1 by" in message
    assert message.endswith("a reproducer; mend the pass, or leave it out")
    assert "\n" not in message
    (disagreement,) = found
    assert (disagreement.application, disagreement.node) == (2, "hardtanh_1")
    assert disagreement.check.error > disagreement.check.limit


IDLE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "zero": lambda x: x - x,
    "empty": lambda x: x[:0],
    "whole numbers": lambda x: torch.zeros_like(x, dtype=torch.int64),
}


@pytest.mark.parametrize("name", IDLE)
def test_an_output_that_cannot_differ_hides_no_other(name: str, rng: torch.Generator) -> None:
    program = program_of(lambda x: (functional.hardtanh(x), IDLE[name](x)), (1, 4, 5, 5), rng=rng)
    with pytest.raises(VerificationError, match="changes the result by"):
        verified(make(clip_lower), program)
    assert verified(make(lambda program, node: None), program).checks[1].error == 0


def lose_bias(program: Program, node: fx.Node) -> None:
    node.args = (*node.args[:2], None, *node.args[3:])


def scale_weight(program: Program, node: fx.Node) -> None:
    module = program.module
    with module.graph.inserting_before(node):
        weight: Any = node.args[1]
        value = dict(module.named_parameters())[str(weight.target)].detach() * 1.001
        node.args = (node.args[0], add_constant(module, "scaled", value), *node.args[2:])


def lose_activation(program: Program, node: fx.Node) -> None:
    node.replace_all_uses_with(node.all_input_nodes[0])


WRONG: dict[str, tuple[Rewrite, Any]] = {
    "clip lower": (clip_lower, aten.hardtanh.default),
    "activation lost": (lose_activation, aten.hardtanh.default),
    "bias lost": (lose_bias, aten.conv2d.default),
    "weights a thousandth larger": (scale_weight, aten.conv2d.default),
}


@pytest.mark.parametrize("name", WRONG)
def test_changed_values_are_refused(name: str, program: Program) -> None:
    with pytest.raises(VerificationError, match=r"pass 'made'.*changes the result by"):
        verified(make(*WRONG[name]), program)


def test_what_changes_nothing_of_the_result_is_let_through(program: Program) -> None:
    item = make(lambda program, node: setattr(node, "args", (node.args[0], 0, 6)))
    assert verified(item, program).checks[1].error == 0


def crop(program: Program, node: fx.Node) -> None:
    (output,) = program.module.graph.find_nodes(op="output")
    result = output.all_input_nodes[0]
    with program.module.graph.inserting_before(output):
        cropped = program.module.graph.call_function(aten.slice.Tensor, (result, 3, 0, 2))
    output.replace_input_with(result, cropped)


def to_double(program: Program, node: fx.Node) -> None:
    (output,) = program.module.graph.find_nodes(op="output")
    result = output.all_input_nodes[0]
    with program.module.graph.inserting_before(output):
        made = program.module.graph.call_function(aten._to_copy.default, (result,), {"dtype": torch.float64})
    output.replace_input_with(result, made)


@pytest.mark.parametrize(
    ("rewrite_", "message"),
    [
        (crop, r"changes the outputs from float32\[2, 2, 6, 4\] to float32\[2, 2, 6, 2\]"),
        (to_double, r"changes the outputs from float32\[2, 2, 6, 4\] to float64\[2, 2, 6, 4\]"),
    ],
)
def test_the_signature_must_stay(rewrite_: Rewrite, message: str, program: Program) -> None:
    first = [True]

    def once(program: Program, node: fx.Node) -> None:
        if first:
            first.pop()
            rewrite_(program, node)

    with pytest.raises(BadInputError, match=message):
        verified(make(once), program)


def to_lwc(program: Program, node: fx.Node) -> None:
    with program.module.graph.inserting_before(node):
        raised = program.module.graph.call_function(
            torch.ops.lwc.conv2d.default,
            (*node.args[:3], None, [1, 1], [0, 0, 0, 0], [1, 1], 1, "identity", None, None, "NCHW", "NCHW"),
        )
    node.replace_all_uses_with(raised)


def test_operators_of_lwc_have_to_be_declared(program: Program) -> None:
    with pytest.raises(BadInputError, match=r"writes lwc\.conv2d\.default, which is neither aten's nor"):
        verified(make(to_lwc, aten.conv2d.default), program)
    declared = make(to_lwc, aten.conv2d.default, introduces=("lwc.conv2d.default",))
    assert verified(declared, program).checks[1].error < 1e-9


def test_a_program_that_cannot_run_in_float64_is_left_to_the_package(rng: torch.Generator) -> None:
    fixed = torch.ones(4, 3)
    program = program_of(Compute(lambda x: x.to(torch.float32) @ fixed.to(torch.float32)), (2, 4), rng=rng)
    verifier = Verifier(program)
    run_pipeline(Pipeline.parse("default"), program, (verifier,))


def test_random_numbers_are_the_same_before_and_after(rng: torch.Generator) -> None:
    program = program_of(Compute(lambda x: (x + torch.rand(4)).clone().relu()), (2, 4), rng=rng)
    verifier = Verifier(program)
    _, records = run_pipeline(Pipeline.parse("remove-identities"), program, (verifier,))
    assert records[0].count == 1
    assert verifier.checks[1].error == 0


def negate_in_match(program: Program, node: fx.Node) -> None:
    node.target = aten.neg.default
    node.args = node.args[:1]


def test_a_match_that_changes_the_graph_is_refused(program: Program) -> None:
    class Sly(Pass[fx.Node]):
        name: ClassVar[str] = "sly"

        def match(self, program: Program, node: fx.Node) -> fx.Node | None:
            if node.target is aten.hardtanh.default:
                negate_in_match(program, node)
            return None

        def rewrite(self, program: Program, match: fx.Node) -> None:
            raise AssertionError

    with pytest.raises(BadInputError, match=r"pass 'sly'.*changes the graph in match or refuse"):
        verified(dataclass(frozen=True)(Sly)(), program)


FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "torch.nn.functional.hardtanh": functional.hardtanh,
    f"{__name__}.<lambda>": lambda x, low, high: functional.hardtanh(x, low, high),
    "_operator.add": operator.add,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_are_no_operators_are_refused(name: str, program: Program) -> None:
    def call(program: Program, node: fx.Node) -> None:
        node.target = FUNCTIONS[name]
        node.args = (node.args[0], 0.0) if name == "_operator.add" else node.args

    with pytest.raises(
        BadInputError, match=f"writes the function {re.escape(name)}, which is neither aten's"
    ):
        verified(make(call), program)


# A pass that redefines what the model gives.


def scaled() -> Pass[Any]:
    """A pass of lwc's own, for all that the hook can tell, that makes weights larger on purpose."""
    return make(
        scale_weight, aten.conv2d.default, name="scale", redefines=True, __module__="lwc.passes.scale"
    )


def test_what_redefines_the_result_is_the_new_measure(program: Program) -> None:
    verifier = Verifier(program)
    pipeline = Pipeline((scaled(), *Pipeline.parse("default").passes))
    run_pipeline(pipeline, program, (verifier,))
    assert 1 not in verifier.checks
    assert max(verifier.checks) > 1


@pytest.mark.parametrize("position", [0, 1])
def test_a_wrong_pass_beside_one_that_redefines_is_refused(position: int, program: Program) -> None:
    passes = [scaled()]
    passes.insert(position, make(clip_lower))
    with pytest.raises(VerificationError, match=r"pass 'made'.*changes the result by"):
        run_pipeline(Pipeline(tuple(passes)), program, (Verifier(program),))


def test_only_a_pass_of_lwc_may_redefine(program: Program) -> None:
    with pytest.raises(BadInputError, match=r"its 'redefines' is set; only lwc's own passes may"):
        verified(make(clip_lower, redefines=True), program)


# The limit of rewrites.


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 99])
def test_no_more_rewrites_than_the_limit(limit: int, program: Program) -> None:
    pipeline = Pipeline.parse("raise-operators,fuse-activation")
    after, records = run_pipeline(pipeline, program, limit=limit)
    assert [record.count for record in records] == [min(limit, 3), min(max(limit - 3, 0), 2)]
    verifier = Verifier(program)
    run_pipeline(pipeline, program, (verifier,), limit)
    assert len(verifier.checks) == (limit > 0) + (limit > 3)
    assert len(after.module.graph.find_nodes(op="call_function", target=aten.hardtanh.default)) == 2 - max(
        0, min(2, limit - 3)
    )
