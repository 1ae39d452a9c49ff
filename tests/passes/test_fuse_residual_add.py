"""fuse-residual-add: an addition joins the convolution or linear layer before it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls, constant
from lwc.ops import ConvView, LinearView
from lwc.trace import Program
from tests.programs import operators, program_of, reasons, rewrite

IMAGE = (2, 4, 7, 6)
TOKENS = (2, 5, 4)
PASSES = "raise-operators,fuse-residual-add"
CONV, LINEAR = "lwc.conv2d.default", "lwc.linear.default"

Function = Callable[..., torch.Tensor]


def residuals(program: Program) -> list[str | None]:
    """What each layer adds, by name."""
    graph = program.module.graph
    views: list[Any] = [ConvView.of(node) for node in calls(graph, torch.ops.lwc.conv2d.default)]
    views += [LinearView.of(node) for node in calls(graph, torch.ops.lwc.linear.default)]
    return [None if view.residual is None else view.residual.name for view in views]


def convolution(groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1, groups=groups)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_joins_a_convolution(groups: int, rng: torch.Generator) -> None:
    program = program_of(lambda own, x: x + own(x), IMAGE, rng=rng, parts=(convolution(groups),))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert operators(after) == [CONV]
    assert residuals(after) == ["inputs_0"]


def test_joins_a_linear_layer(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: own(x) + x, TOKENS, rng=rng, parts=(nn.Linear(4, 4),))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert operators(after) == [LINEAR]
    assert residuals(after) == ["inputs_0"]


def test_the_layer_waits_for_what_it_adds(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: own(x) + torch.tanh(x), IMAGE, rng=rng, parts=(convolution(),))
    assert operators(program) == ["aten.conv2d.default", "aten.tanh.default", "aten.add.Tensor"]
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert operators(after) == ["aten.tanh.default", CONV]


def test_of_two_layers_the_later_one_takes_the_sum(rng: torch.Generator) -> None:
    program = program_of(
        lambda first, second, x: first(x) + second(x), IMAGE, rng=rng, parts=(convolution(), convolution())
    )
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert operators(after) == [CONV, CONV]
    assert residuals(after) == [None, "conv2d_default"]


def test_of_two_layers_the_one_that_can_takes_the_sum(rng: torch.Generator) -> None:
    program = program_of(
        lambda first, second, x: first(x) + (y := second(x)) + y.tanh(),
        IMAGE,
        rng=rng,
        parts=(convolution(), convolution()),
    )
    after, record = rewrite(PASSES, program, rng)
    # The second sum is not a layer's.
    assert record.count == 1
    assert residuals(after) == [None, "conv2d_default_1"]


def test_through_reshapes(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: own(x).view(10, 4).reshape(2, 20) + x.view(2, 20),
        TOKENS,
        rng=rng,
        parts=(nn.Linear(4, 4),),
    )
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert "aten.add.Tensor" not in operators(after)
    assert len(residuals(after)) == 1


def test_a_constant_is_added(rng: torch.Generator) -> None:
    embedding = nn.Embedding(5, 4)
    program = program_of(
        lambda own, table, x: own(x) + table.weight.expand(2, 5, 4).clone(),
        TOKENS,
        rng=rng,
        parts=(nn.Linear(4, 4), embedding),
    )
    after, record = rewrite(f"remove-identities,fold-constants,{PASSES}", program, rng)
    assert record.count == 1
    assert operators(after) == [LINEAR]


def test_the_activation_after_the_sum_joins_too(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: functional.relu6(own(x) + x), IMAGE, rng=rng, parts=(convolution(),))
    after, record = rewrite(f"{PASSES},fuse-activation", program, rng)
    assert record.count == 1
    assert operators(after) == [CONV]


def test_images_are_added_in_nhwc(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: own(x) + x, IMAGE, rng=rng, parts=(convolution(),))
    after, record = rewrite(f"{PASSES},convert-layout", program, rng)
    assert record.count == 1
    (conv,) = calls(after.module.graph, torch.ops.lwc.conv2d.default)
    assert [ConvView.of(conv).input_layout, ConvView.of(conv).output_layout] == ["NHWC", "NHWC"]


OTHER_USER = "the layer before it has another user"
REFUSED: dict[str, tuple[Function, str]] = {
    "second user": (lambda own, x: ((y := own(x)) + x) * y, OTHER_USER),
    "second user of the reshape": (
        lambda own, x: ((y := own(x).flatten(1)) + x.flatten(1)) * y,
        OTHER_USER,
    ),
    "second user before the reshape": (
        lambda own, x: ((y := own(x)).flatten(1) + x.flatten(1)) * y.flatten(1),
        OTHER_USER,
    ),
    "added to itself": (lambda own, x: (y := own(x)) + y, "the layer's result is added to itself"),
    "added to a reshape of itself": (
        lambda own, x: (y := own(x)).flatten(1) + y.reshape(2, -1),
        OTHER_USER,
    ),
    "a multiple": (lambda own, x: torch.add(own(x), x, alpha=2), "it adds a multiple"),
    "the layer's result times a number": (
        lambda own, x: torch.add(x, own(x), alpha=-1),
        "it adds a multiple",
    ),
    "a smaller tensor": (lambda own, x: own(x) + x.mean((2, 3), keepdim=True), "its operands broadcast"),
    "a larger tensor": (lambda own, x: own(x) + x[None], "its operands broadcast"),
    "integers": (
        lambda own, x: own(x) + x.to(torch.int32),
        "it adds torch.int32 to torch.float32",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, reason = REFUSED[name]
    program = program_of(function, IMAGE, rng=rng, parts=(convolution(),))
    after, record = rewrite(PASSES, program, rng)
    assert (record.count, reasons(record)) == (0, [reason])
    assert len(operators(after)) == len(operators(program))


BETWEEN: dict[str, tuple[str, Function, str]] = {
    "a curve": (
        "fuse-activation",
        lambda own, x: functional.silu(own(x)) + x,
        "an activation stands between",
    ),
    "a clamp": ("fuse-activation", lambda own, x: own(x).relu() + x, "an activation stands between"),
    "a residual": ("fuse-residual-add", lambda own, x: own(x) + x + x.tanh(), "a residual stands between"),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_refuses_a_layer_that_does_more(name: str, rng: torch.Generator) -> None:
    before, function, reason = BETWEEN[name]
    program = program_of(function, IMAGE, rng=rng, parts=(convolution(),))
    _, record = rewrite(f"raise-operators,{before},fuse-residual-add", program, rng)
    assert (record.count, reasons(record)) == (0, [reason])


NO_CANDIDATES: dict[str, Function] = {
    "a number": lambda own, x: own(x) + 1.5,
    "two inputs": lambda own, x: own(x + x.tanh()),
    "a difference": lambda own, x: own(x) - x,
}


@pytest.mark.parametrize("name", NO_CANDIDATES)
def test_leaves(name: str, rng: torch.Generator) -> None:
    program = program_of(NO_CANDIDATES[name], IMAGE, rng=rng, parts=(convolution(),))
    _, record = rewrite(PASSES, program, rng)
    assert (record.count, record.refusals) == (0, ())


def test_a_batch_norm_after_the_sum_stays(rng: torch.Generator) -> None:
    layers = (convolution(), nn.BatchNorm2d(4))
    program = program_of(lambda own, norm, x: norm(own(x) + x), IMAGE, rng=rng, parts=layers)
    _, record = rewrite(f"{PASSES},fold-batch-norm", program, rng)
    assert (record.count, reasons(record)) == (0, ["a residual stands between"])


HEADS: dict[str, tuple[Function, str]] = {
    "the first adds": (lambda first, second, x: second(first(x) + x), "a residual stands between"),
    "the second adds": (lambda first, second, x: second(first(x)) + x, "the second layer adds a residual"),
}


@pytest.mark.parametrize("name", HEADS)
def test_linear_layers_with_a_residual_do_not_merge(name: str, rng: torch.Generator) -> None:
    function, reason = HEADS[name]
    program = program_of(function, TOKENS, rng=rng, parts=(nn.Linear(4, 4), nn.Linear(4, 4)))
    _, record = rewrite(f"{PASSES},merge-heads", program, rng)
    assert (record.count, reasons(record)) == (0, [reason])


def test_channels_behind_a_residual_are_not_pruned(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, after, x: after(own(x) + x), IMAGE, rng=rng, parts=(convolution(), nn.Conv2d(4, 3, 1))
    )
    first, _ = calls(program.module.graph, torch.ops.aten.conv2d.default)
    weight = constant(program.module, first.args[1])
    assert weight is not None
    weight[1] = 0
    after, record = rewrite(f"{PASSES},prune-channels", program, rng)
    assert record.count == 0
    assert residuals(after) == ["inputs_0", None]
