"""fuse-activation: an activation joins the convolution or linear layer that alone feeds it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls
from lwc.ops import ConvView, LinearView
from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import Program
from tests.programs import Compute, assert_same_meaning, operators, program_of, reasons, rewrite

IMAGE = (2, 4, 7, 6)
TOKENS = (2, 5, 4)
PASSES = "raise-operators,fuse-activation"

Function = Callable[[torch.Tensor], torch.Tensor]
Epilogue = tuple[str, float | None, float | None]

FUSED: dict[str, tuple[Function, Epilogue]] = {
    "relu": (torch.relu, ("identity", 0.0, None)),
    "relu in place": (lambda x: x.relu_(), ("identity", 0.0, None)),
    "relu6": (functional.relu6, ("identity", 0.0, 6.0)),
    "relu6 module": (nn.ReLU6(inplace=True), ("identity", 0.0, 6.0)),
    "hardtanh": (functional.hardtanh, ("identity", -1.0, 1.0)),
    "hardtanh with bounds": (lambda x: functional.hardtanh(x, 0.0, 0.5), ("identity", 0.0, 0.5)),
    "clamp": (lambda x: x.clamp(-1, 0.25), ("identity", -1.0, 0.25)),
    "clamp from below": (lambda x: x.clamp(min=-0.5), ("identity", -0.5, None)),
    "clamp from above": (lambda x: torch.clamp(x, max=0.5), ("identity", None, 0.5)),
    "clamp_min": (lambda x: x.clamp_min(0), ("identity", 0.0, None)),
    "clamp_max": (lambda x: x.clamp_max(0.5), ("identity", None, 0.5)),
    "clamp below zero": (lambda x: x.clamp(-3, -1), ("identity", -3.0, -1.0)),
    "silu": (functional.silu, ("silu", None, None)),
    "hardswish": (functional.hardswish, ("hardswish", None, None)),
    "hardsigmoid": (functional.hardsigmoid, ("hardsigmoid", None, None)),
    "sigmoid": (torch.sigmoid, ("sigmoid", None, None)),
    "tanh": (torch.tanh, ("tanh", None, None)),
    "gelu": (functional.gelu, ("gelu", None, None)),
    "clamp of a curve": (lambda x: functional.silu(x).clamp(max=1), ("silu", None, 1.0)),
}


def epilogue(program: Program) -> Epilogue:
    """What the program's one layer does at its end."""
    graph = program.module.graph
    views: list[Any] = [ConvView.of(node) for node in calls(graph, torch.ops.lwc.conv2d.default)]
    views += [LinearView.of(node) for node in calls(graph, torch.ops.lwc.linear.default)]
    (view,) = views
    return view.activation, view.minimum, view.maximum


@pytest.mark.parametrize("name", FUSED)
def test_fuses_into_a_convolution(name: str, rng: torch.Generator) -> None:
    function, want = FUSED[name]
    program = program_of(lambda own, x: function(own(x)), IMAGE, rng=rng, parts=(nn.Conv2d(4, 6, 3),))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == len(operators(program)) - 1
    assert operators(after) == ["lwc.conv2d.default"]
    assert epilogue(after) == want


SPELLED_OUT: dict[str, tuple[Function, Epilogue]] = {
    "relu6": (
        lambda x: torch.minimum(torch.maximum(x, torch.tensor(0.0)), torch.tensor(6.0)),
        ("identity", 0.0, 6.0),
    ),
    "clamp between tensors": (
        lambda x: x.clamp(torch.tensor(-1.0), torch.full((1,), 0.5)),
        ("identity", -1.0, 0.5),
    ),
    "hardsigmoid": (lambda x: functional.relu6(x + 3) / 6, ("hardsigmoid", None, None)),
    "hardswish": (lambda x: x * functional.relu6(x + 3) / 6, ("hardswish", None, None)),
    "silu": (lambda x: x * torch.sigmoid(x), ("silu", None, None)),
}


@pytest.mark.parametrize("name", SPELLED_OUT)
def test_fuses_what_is_spelled_out(name: str, rng: torch.Generator) -> None:
    function, want = SPELLED_OUT[name]
    program = program_of(lambda own, x: function(own(x)), IMAGE, rng=rng, parts=(nn.Conv2d(4, 6, 3),))
    after, records = run_pipeline(Pipeline.parse("default"), program)
    assert_same_meaning("default", program, after, rng)
    assert sum(record.count for record in records if record.name == "fuse-activation") == 1
    assert epilogue(after) == want


@pytest.mark.parametrize("name", ["relu6", "hardswish", "gelu"])
def test_fuses_into_a_linear_layer(name: str, rng: torch.Generator) -> None:
    function, want = FUSED[name]
    program = program_of(lambda own, x: function(own(x)), TOKENS, rng=rng, parts=(nn.Linear(4, 6),))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert operators(after) == ["lwc.linear.default"]
    assert epilogue(after) == want


def test_fuses_through_reshapes(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: own(x).view(10, 6).reshape(2, 30).relu(), TOKENS, rng=rng, parts=(nn.Linear(4, 6),)
    )
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert "aten.relu.default" not in operators(after)
    assert epilogue(after) == ("identity", 0.0, None)


def test_fuses_after_the_batch_norm_is_folded(rng: torch.Generator) -> None:
    layers = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), nn.ReLU6())
    after, record = rewrite(
        "raise-operators,fold-batch-norm,fuse-activation", program_of(layers, IMAGE, rng=rng), rng
    )
    assert record.count == 1
    assert operators(after) == ["lwc.conv2d.default"]


OTHER_USER = "the layer before it has another user"
REFUSED: dict[str, tuple[Callable[[nn.Module, torch.Tensor], torch.Tensor], str]] = {
    "second user": (lambda own, x: (y := own(x)).relu() + y, OTHER_USER),
    "two activations of one layer": (lambda own, x: (y := own(x)).relu() + y.sigmoid(), OTHER_USER),
    "second user of the reshape": (lambda own, x: (y := own(x).flatten(1)).relu() + y, OTHER_USER),
    "second user before the reshape": (
        lambda own, x: (y := own(x)).flatten(1).relu() + y.flatten(1),
        OTHER_USER,
    ),
    "relu after relu6": (
        lambda own, x: functional.relu6(own(x)).relu(),
        "the layer before it clamps already",
    ),
    "curve after a clamp": (
        lambda own, x: functional.silu(own(x).relu()),
        "the layer before it clamps already",
    ),
    "curve after a curve": (
        lambda own, x: torch.tanh(functional.silu(own(x))),
        "the layer before it has an activation already",
    ),
    "a lower bound that is not a number": (
        lambda own, x: own(x).clamp(min=float("nan")).isnan() * 1.0,
        "a bound is not a number",
    ),
    "an upper bound that is not a number": (
        lambda own, x: own(x).clamp(-1, float("nan")).isnan() * 1.0,
        "a bound is not a number",
    ),
    "reversed bounds": (lambda own, x: own(x).clamp(1, -1), "its bounds are reversed"),
    "tanh form of GELU": (
        lambda own, x: functional.gelu(own(x), approximate="tanh"),
        "its GELU is the tanh approximation",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, reason = REFUSED[name]
    program = program_of(function, IMAGE, rng=rng, parts=(nn.Conv2d(4, 6, 3),))
    after, record = rewrite(PASSES, program, rng)
    assert set(reasons(record)) == {reason}
    assert len(operators(after)) == len(operators(program)) - record.count
    assert len(operators(after)) > 1


NO_CANDIDATES: dict[str, Function] = {
    "an input": torch.relu,
    "a sum": lambda x: (x + 1).relu(),
    "a pooled image": lambda x: functional.avg_pool2d(x, 2).relu(),
}


@pytest.mark.parametrize("name", NO_CANDIDATES)
def test_leaves_an_activation_of_something_else(name: str, rng: torch.Generator) -> None:
    _, record = rewrite(PASSES, program_of(Compute(NO_CANDIDATES[name]), IMAGE, rng=rng), rng)
    assert (record.count, record.refusals) == (0, ())


def test_leaves_a_clamp_between_tensors(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: torch.maximum(own(x), x.mean()), IMAGE, rng=rng, parts=(nn.Conv2d(4, 6, 3),)
    )
    _, record = rewrite(PASSES, program, rng)
    assert (record.count, record.refusals) == (0, ())


def test_leaves_an_activation_across_a_residual_sum(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: (own(x) + x).relu(), IMAGE, rng=rng, parts=(nn.Conv2d(4, 4, 3, padding=1),)
    )
    _, record = rewrite(PASSES, program, rng)
    assert (record.count, record.refusals) == (0, ())
