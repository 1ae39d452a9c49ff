"""Running a pipeline: its counts, what it leaves of a program, and what its hook is given."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import fx, nn

from lwc.graph import readable
from lwc.pipeline import DEFAULT, Pipeline, Step, run_pipeline
from lwc.trace import Program
from tests.programs import operators, program_of, run

IMAGE = (2, 3, 8, 6)


@pytest.fixture
def program(rng: torch.Generator) -> Program:
    """A convolution, batch norm and activation behind padding and dropout, and a linear head."""
    layers = nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )
    return program_of(layers, IMAGE, rng=rng)


def test_the_counts_are_true(program: Program) -> None:
    after, records = run_pipeline(Pipeline.parse("default"), program)
    assert [record.name for record in records] == list(DEFAULT)
    assert {record.name: record.count for record in records if record.count} == {
        "remove-identities": 1,
        "raise-operators": 2,
        "fold-padding": 1,
        "fold-batch-norm": 1,
        "fuse-activation": 1,
        "convert-layout": 1,
        "sink-transposes": 3,
    }
    assert all(record.seconds > 0 for record in records)
    assert operators(after) == [
        "lwc.conv2d.default",
        "aten.mean.dim",
        "aten.reshape.default",
        "lwc.linear.default",
    ]


def test_the_input_program_stays_as_it_is(program: Program) -> None:
    graph, x = readable(program.module.graph), program.inputs[0]
    state = {name: value.clone() for name, value in program.module.state_dict().items()}
    (want,) = run(program, (x,))
    run_pipeline(Pipeline.parse("default"), program)
    assert readable(program.module.graph) == graph
    assert program.module.state_dict().keys() == state.keys()
    assert all(torch.equal(program.module.state_dict()[name], value) for name, value in state.items())
    assert torch.equal(run(program, (x,))[0], want)


def test_only_the_parameters_in_use_are_left(program: Program) -> None:
    after, _ = run_pipeline(Pipeline.parse("default"), program)
    used = {str(node.target) for node in after.module.graph.nodes if node.op == "get_attr"}
    assert set(after.module.state_dict()) == used
    # Weight and bias of two layers.
    assert len(used) == 4


def test_a_parameter_whose_neighbour_stays_goes_too(rng: torch.Generator) -> None:
    """The convolution's own weight is not used once the batch norm is folded, but its bias is."""
    parts = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    program = program_of(lambda own, norm, x: norm(own(x)) + own.bias.sum(), IMAGE, rng=rng, parts=parts)
    after, _ = run_pipeline(Pipeline.parse("raise-operators,fold-batch-norm"), program)
    used = {str(node.target) for node in after.module.graph.nodes if node.op == "get_attr"}
    assert set(after.module.state_dict()) == used


class ShapeCheck(fx.Interpreter):
    """Runs a program and compares each value with what its node says of it."""

    checked = 0

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, checked."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and n.op != "output":
            assert (value.shape, value.dtype) == (n.meta["val"].shape, n.meta["val"].dtype), n.name
            self.checked += 1
        return value


def test_shapes_are_up_to_date_after_every_pass(program: Program) -> None:
    def hook(step: Step) -> None:
        check = ShapeCheck(step.after.module)
        check.run(*step.after.inputs)
        assert check.checked > len(operators(step.after))

    run_pipeline(Pipeline.parse("default"), program, (hook,))


def test_the_hook_sees_each_pass_once_with_the_graph_before_and_after(program: Program) -> None:
    seen: list[tuple[int, str]] = []
    texts: list[tuple[str, str]] = []

    def hook(step: Step) -> None:
        seen.append((step.position, step.item.name))
        texts.append((readable(step.before.module.graph), readable(step.after.module.graph)))

    _, records = run_pipeline(Pipeline.parse("default"), program, (hook,))
    assert seen == list(enumerate(DEFAULT, start=1))
    for (before, after), record in zip(texts, records, strict=True):
        assert (before != after) == (record.count > 0), record.name
    for (_, after), (before, _) in pairwise(texts):
        assert after == before


def test_the_hook_can_run_both_programs(program: Program) -> None:
    def hook(step: Step) -> None:
        inputs = step.after.inputs
        torch.testing.assert_close(run(step.after, inputs), run(step.before, inputs))
        ran.append(step.item.name)

    ran: list[str] = []
    run_pipeline(Pipeline.parse("default"), program, (hook,))
    assert ran == list(DEFAULT)


def test_all_hooks_run_in_order(program: Program) -> None:
    order: list[str] = []
    hooks = (
        lambda step: order.append("first"),
        lambda step: order.append("second"),
    )
    run_pipeline(Pipeline.parse("fold-constants"), program, hooks)
    assert order == ["first", "second"]


def test_what_a_hook_raises_ends_the_run(program: Program) -> None:
    def hook(step: Step) -> None:
        raise ArithmeticError(step.item.name)

    with pytest.raises(ArithmeticError, match="remove-identities"):
        run_pipeline(Pipeline.parse("default"), program, (hook,))


def test_a_second_run_changes_nothing(program: Program) -> None:
    once, _ = run_pipeline(Pipeline.parse("default"), program)
    twice, records = run_pipeline(Pipeline.parse("default"), once)
    assert [record.count for record in records] == [0] * len(DEFAULT)
    assert readable(twice.module.graph) == readable(once.module.graph)


def test_the_pipeline_without_passes_removes_dead_code_only(program: Program) -> None:
    after, records = run_pipeline(Pipeline(()), program)
    assert records == ()
    assert operators(after) == operators(program)


def test_a_program_may_have_several_results(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: (own(x), own(x).relu()), IMAGE, rng=rng, parts=(nn.Conv2d(3, 4, 1),))
    after, _ = run_pipeline(Pipeline.parse("default"), program)
    assert len(run(after, after.inputs)) == 2
    # The two convolutions are one, which does not clamp for the other's reader.
    assert operators(after).count("lwc.conv2d.default") == 1
