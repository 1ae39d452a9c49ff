"""Shapes are those of a graph that is seen afresh, and are computed once for an operator and operands of one form."""

import torch
from torch import fx, nn

from lwc.pipeline import Pipeline, run_pipeline
from lwc.pipeline.run import Step, snapshot
from lwc.pipeline.shapes import Shapes
from lwc.trace import Program
from tests.passes.test_random_graphs import Network
from tests.passes.test_random_graphs import program_of as program_of_networks
from tests.programs import program_of


def shapes_of(program: Program) -> dict[str, tuple[object, ...]]:
    """Shape, strides and dtype of each node that is a tensor."""
    values = {node.name: node.meta.get("val") for node in program.module.graph.nodes}
    tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
    return {name: (value.shape, value.stride(), value.dtype) for name, value in tensors.items()}


def assert_fresh(step: Step) -> None:
    """As they are where nothing is known from before."""
    seen = snapshot(step.after)
    Shapes().propagate(seen)
    assert shapes_of(step.after) == shapes_of(seen), step.item.name


def test_shapes_follow_each_pass(seed: int, rng: torch.Generator) -> None:
    program = program_of_networks([Network.of(seed + number) for number in range(10)], rng)
    run_pipeline(Pipeline.parse("default"), program, (assert_fresh,))


def small(rng: torch.Generator) -> tuple[Program, Shapes, fx.Node]:
    """relu(linear(x)), its shapes, and the node of the relu."""
    program = program_of(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (2, 4), rng=rng)
    shapes = Shapes()
    shapes.propagate(program)
    return program, shapes, program.module.graph.find_nodes(op="output")[0].all_input_nodes[0]


def test_what_has_not_changed_is_kept(rng: torch.Generator) -> None:
    program, shapes, relu = small(rng)
    before = relu.meta["val"]
    shapes.propagate(program)
    assert relu.meta["val"] is before


def test_a_new_node_that_gives_the_same_costs_those_below_nothing(rng: torch.Generator) -> None:
    program, shapes, relu = small(rng)
    before, old = relu.meta["val"], relu.args[0]
    assert isinstance(old, fx.Node)
    with program.module.graph.inserting_before(relu):
        relu.update_arg(0, program.module.graph.node_copy(old))
    shapes.propagate(program)
    assert relu.meta["val"] is before


def test_what_a_pass_writes_into_meta_is_not_believed(rng: torch.Generator) -> None:
    program, shapes, relu = small(rng)
    relu.meta["val"] = torch.empty(7, device="meta")
    shapes.propagate(program)
    assert relu.meta["val"].shape == (2, 3)


def test_a_value_that_a_pass_changes_in_place_is_computed_anew(rng: torch.Generator) -> None:
    program, shapes, relu = small(rng)
    relu.meta["val"].t_()
    relu.args[0].meta["val"].unsqueeze_(0)  # type: ignore[union-attr]
    shapes.propagate(program)
    assert relu.meta["val"].shape == (2, 3)


def test_a_changed_argument_is_seen_downstream(rng: torch.Generator) -> None:
    program, shapes, relu = small(rng)
    graph = program.module.graph
    with graph.inserting_before(relu):
        rows = graph.call_function(torch.ops.aten.slice.Tensor, (relu.args[0], 0, 0, 2))
    relu.update_arg(0, rows)
    shapes.propagate(program)
    assert relu.meta["val"].shape == (2, 3)
    rows.update_arg(3, 1)
    shapes.propagate(program)
    assert relu.meta["val"].shape == (1, 3)


def test_a_parameter_that_changes_its_data_is_seen(rng: torch.Generator) -> None:
    program, shapes, relu = small(rng)
    linear = program.module.get_submodule("0")
    linear.weight.data, linear.bias.data = torch.zeros(5, 4), torch.zeros(5)
    shapes.propagate(program)
    assert relu.meta["val"].shape == (2, 5)
