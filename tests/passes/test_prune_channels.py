"""prune-channels: channels of zero weights go, from the layers that write them to those that read them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls, constant
from lwc.ops import ConvView, LinearView
from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import Program, trace
from tests.programs import Compute, random_inputs, randomize, reasons, rewrite

IMAGE = (2, 3, 8, 7)
PASSES = "raise-operators,fold-batch-norm,fuse-activation,prune-channels"

Function = Callable[..., Any]


def pruned_program(module: nn.Module, rng: torch.Generator, edit: Callable[[], None]) -> Program:
    """`module` with random parameters after `edit`, which sets some of them to zero."""
    randomize(module, rng)
    with torch.no_grad():
        edit()
    return trace(module.eval(), random_inputs((IMAGE,), rng), ("x",))


def silence(layer: Any, *channels: int, bias: float = 0.0) -> None:
    """Output channels of zero weights."""
    layer.weight[list(channels)] = 0
    if layer.bias is not None:
        layer.bias[list(channels)] = bias


def ignore(layer: Any, *channels: int) -> None:
    """Input channels of zero weights."""
    layer.weight[:, list(channels)] = 0


def weight_shapes(program: Program) -> list[tuple[int, ...]]:
    """The shapes of the layers' weights, in the graph's order."""
    shapes = []
    for node in calls(program.module.graph, torch.ops.lwc.conv2d.default, torch.ops.lwc.linear.default):
        convolution = node.target is torch.ops.lwc.conv2d.default
        view: Any = ConvView.of(node) if convolution else LinearView.of(node)
        weight = constant(program.module, view.weight)
        assert weight is not None
        shapes.append(tuple(weight.shape))
    return shapes


# What stands between a convolution with a dead channel and the one that reads it.
CARRIERS: dict[str, Function] = {
    "nothing": lambda y: y,
    "relu": torch.relu,
    "relu6": functional.relu6,
    "silu": functional.silu,
    "hardswish": functional.hardswish,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
    "activation that is not fused": lambda y: functional.hardtanh(functional.silu(y.relu()), -0.5, 0.5),
    "max pooling": lambda y: functional.max_pool2d(y, 3, 2, 1),
    "average pooling": lambda y: functional.avg_pool2d(y, 3, 2, 1),
    "adaptive average pooling": lambda y: functional.adaptive_avg_pool2d(y, 3),
    "mean": lambda y: y.mean((2, 3), keepdim=True),
    "its own gate": lambda y: y * y.sigmoid(),
    "scaled": lambda y: y * 0.5 - y * 2,
    "reshape of the places": lambda y: y.reshape(2, 6, -1, 1),
}


@pytest.mark.parametrize("name", CARRIERS)
def test_removes_a_zero_channel_between_convolutions(name: str, rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, padding=1)
    module = Compute(lambda f, s, x: s(CARRIERS[name](f(x))), first, second)
    after, record = rewrite(PASSES, pruned_program(module, rng, lambda: silence(first, 2, 4)), rng)
    assert record.count == 1
    assert record.refusals == ()
    assert weight_shapes(after) == [(4, 3, 3, 3), (4, 4, 3, 3)]


def test_removes_a_channel_of_a_convolution_without_a_bias(rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 6, 3, bias=False), nn.Conv2d(6, 4, 3, padding=1, bias=False)
    module = nn.Sequential(first, nn.ReLU(), second)
    after, record = rewrite(PASSES, pruned_program(module, rng, lambda: silence(first, 0)), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(5, 3, 3, 3), (4, 5, 3, 3)]


def test_removes_a_channel_below_the_bound_of_its_activation(rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, padding=1)
    module = nn.Sequential(first, nn.ReLU(), second)
    after, record = rewrite(PASSES, pruned_program(module, rng, lambda: silence(first, 3, bias=-2.0)), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(5, 3, 3, 3), (4, 5, 3, 3)]


def test_removes_a_channel_that_nothing_reads(rng: torch.Generator) -> None:
    first, second, third = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(6, 4, 1)
    module = Compute(lambda f, s, t, x: s(y := f(x).relu()) - t(y), first, second, third)

    def edit() -> None:
        ignore(second, 1, 5)
        ignore(third, 1, 2)

    after, record = rewrite(PASSES, pruned_program(module, rng, edit), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(5, 3, 3, 3), (4, 5, 3, 3), (4, 5, 1, 1)]


def mobile_block() -> tuple[Any, ...]:
    """Pointwise, depthwise and pointwise, each with its batch norm."""
    return (
        *(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 5, 1, bias=False), nn.BatchNorm2d(5)),
    )


def test_removes_a_channel_of_a_mobile_block(rng: torch.Generator) -> None:
    block = mobile_block()

    def edit() -> None:
        for norm in (block[1], block[4]):
            silence(norm, 2, 6)

    after, record = rewrite(PASSES, pruned_program(nn.Sequential(*block), rng, edit), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(6, 3, 1, 1), (6, 1, 3, 3), (5, 6, 1, 1)]


def test_removes_what_only_the_depthwise_convolution_makes_constant(rng: torch.Generator) -> None:
    block = mobile_block()
    program = pruned_program(nn.Sequential(*block), rng, lambda: silence(block[4], 1, bias=0.5))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert weight_shapes(after) == [(7, 3, 1, 1), (7, 1, 3, 3), (5, 7, 1, 1)]


def test_absorbs_the_bias_of_a_depthwise_convolution_that_reads_zeros(rng: torch.Generator) -> None:
    block = mobile_block()

    def edit() -> None:
        silence(block[1], 3, bias=-1.0)
        block[4].bias.fill_(1.0)

    after, record = rewrite(PASSES, pruned_program(nn.Sequential(*block), rng, edit), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(7, 3, 1, 1), (7, 1, 3, 3), (5, 7, 1, 1)]


@pytest.mark.parametrize("padding", [0, 1])
def test_carries_a_constant_through_a_depthwise_convolution_without_padding(
    padding: int, rng: torch.Generator
) -> None:
    first, depthwise = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=padding, groups=6)
    last = nn.Conv2d(6, 4, 1)
    module = nn.Sequential(first, nn.Tanh(), depthwise, nn.Tanh(), last)
    program = pruned_program(module, rng, lambda: silence(first, 0, bias=0.7))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == (1 if padding == 0 else 0)
    varies = "channel 0 is not constant where conv2d_default_2 reads it"
    assert reasons(record) == ([] if padding == 0 else [varies])
    assert len(weight_shapes(after)[1]) == 4


def test_leaves_one_channel_of_a_depthwise_convolution(rng: torch.Generator) -> None:
    block = mobile_block()

    def edit() -> None:
        silence(block[1], *range(8), bias=0.0)
        silence(block[4], *range(7))

    after, record = rewrite(PASSES, pruned_program(nn.Sequential(*block), rng, edit), rng)
    assert record.count >= 1
    assert weight_shapes(after) == [(1, 3, 1, 1), (1, 1, 3, 3), (5, 1, 1, 1)]


@pytest.mark.parametrize("bias", [0.0, 1.25])
def test_removes_a_channel_of_the_pooled_features(bias: float, rng: torch.Generator) -> None:
    features, classifier = nn.Conv2d(3, 6, 3), nn.Linear(6, 5)
    module = nn.Sequential(features, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier)
    program = pruned_program(module, rng, lambda: silence(features, 5, bias=bias))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert weight_shapes(after) == [(5, 3, 3, 3), (5, 5)]


def test_removes_hidden_features_of_a_perceptron(rng: torch.Generator) -> None:
    first, second = nn.Linear(7, 12), nn.Linear(12, 7, bias=False)
    module = nn.Sequential(first, nn.GELU(), second)
    after, record = rewrite(PASSES, pruned_program(module, rng, lambda: silence(first, 3, 4, bias=1.0)), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(10, 7), (7, 10)]


def squeeze_excite(*parts: Any) -> nn.Module:
    """A convolution whose channels are gated by their own means, before another convolution."""

    def gated(first: Function, down: Function, up: Function, last: Function, x: torch.Tensor) -> torch.Tensor:
        y = first(x).relu()
        gate = up(down(functional.adaptive_avg_pool2d(y, 1)).relu()).sigmoid()
        return last(y * gate)  # type: ignore[no-any-return]

    return Compute(gated, *parts)


def test_removes_a_channel_of_squeeze_and_excite(rng: torch.Generator) -> None:
    first, down, up = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
    last = nn.Conv2d(8, 5, 3, padding=1)
    module = squeeze_excite(first, down, up, last)
    after, record = rewrite(PASSES, pruned_program(module, rng, lambda: silence(first, 1, 7)), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(6, 3, 3, 3), (4, 6, 1, 1), (6, 4, 1, 1), (5, 6, 3, 3)]


def residual(*parts: Any) -> nn.Module:
    """Two branches that are added, before a convolution with zero padding."""
    return Compute(lambda a, b, last, x: last((a(x).relu() + b(x)).relu()), *parts)


def test_removes_a_channel_that_both_branches_lack(rng: torch.Generator) -> None:
    left, right, last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3, padding=1)

    def edit() -> None:
        silence(left, 0, 2, 3)
        silence(right, 2, 3, 4)

    after, record = rewrite(PASSES, pruned_program(residual(left, right, last), rng, edit), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(4, 3, 3, 3), (4, 3, 1, 1), (4, 4, 3, 3)]


def test_removes_a_channel_of_a_layer_added_to_what_it_reads(rng: torch.Generator) -> None:
    stem, block, last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
    module = Compute(lambda s, b, t, x: t((y := s(x)) + b(y)), stem, block, last)

    def edit() -> None:
        silence(stem, 1)
        silence(block, 1)

    after, record = rewrite(PASSES, pruned_program(module, rng, edit), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(5, 3, 3, 3), (5, 5, 3, 3), (4, 5, 1, 1)]


def test_keeps_the_parameters_that_another_layer_shares(rng: torch.Generator) -> None:
    shared, first, last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)
    module = Compute(lambda a, f, b, x: (f(a(x).relu()), b(a(x.flip(2)).flip(3))), shared, first, last)
    program = pruned_program(module, rng, lambda: silence(shared, 4))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert reasons(record) == ["flip_1 cannot read fewer channels"]
    assert weight_shapes(after) == [(5, 3, 3, 3), (4, 5, 1, 1), (6, 3, 3, 3), (4, 6, 1, 1)]


def test_keeps_one_channel_where_all_are_zero(rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, padding=1)
    module = nn.Sequential(first, second)
    after, record = rewrite(PASSES, pruned_program(module, rng, lambda: silence(first, *range(6))), rng)
    assert record.count == 1
    assert record.refusals == ()
    assert weight_shapes(after) == [(1, 3, 3, 3), (4, 1, 3, 3)]


def test_removes_what_a_removal_leaves_unread(rng: torch.Generator) -> None:
    """Only the second layer's channel 3 reads the first's channel 1, and nothing reads that."""
    first, second, third = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 5, 1)

    def edit() -> None:
        second.weight[:3, 1] = 0
        ignore(third, 3)

    module = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
    after, record = rewrite(PASSES, pruned_program(module, rng, edit), rng)
    assert record.count == 2
    assert weight_shapes(after) == [(5, 3, 3, 3), (3, 5, 1, 1), (5, 3, 1, 1)]


@pytest.mark.parametrize("biased", [True, False])
def test_absorbs_a_constant_without_padding(biased: bool, rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, stride=2, bias=biased)
    module = nn.Sequential(first, nn.SiLU(), nn.MaxPool2d(2, 1), second)
    after, record = rewrite(PASSES, pruned_program(module, rng, lambda: silence(first, 3, bias=0.8)), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(5, 3, 3, 3), (4, 5, 3, 3)]


Refused = tuple[Function, tuple[nn.Module, ...], str]

REFUSED: dict[str, Refused] = {
    "constant before zero padding": (
        lambda a, b, x: b(a(x).sigmoid()),
        (nn.Conv2d(6, 4, 3, padding=1),),
        "channel 1 is a constant other than zero, and conv2d_default_1 pads with zeros",
    ),
    "constant in a padded average": (
        lambda a, b, x: b(functional.avg_pool2d(a(x).sigmoid(), 3, 1, 1)),
        (nn.Conv2d(6, 4, 1),),
        "channel 1 is not constant where conv2d_default_1 reads it",
    ),
    "zero in one branch": (
        lambda a, b, c, x: c(a(x) + b(x)),
        (nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)),
        "channel 1 is not constant where conv2d_default_2 reads it",
    ),
    "copies of the input in the other branch": (
        lambda a, b, x: b(a(x) + x[:, :, 2:, 2:].repeat(1, 2, 1, 1)),
        (nn.Conv2d(6, 4, 1),),
        "repeat cannot write fewer channels",
    ),
    "parameter in the other branch": (
        lambda a, b, x: b(a(x) * b.weight[:1]),
        (nn.Conv2d(6, 4, 1),),
        "slice_1 cannot write fewer channels",
    ),
    "grouped convolution reads": (
        lambda a, b, x: b(a(x)),
        (nn.Conv2d(6, 4, 1, groups=2),),
        "conv2d_default_1 cannot read fewer channels",
    ),
    "depthwise convolution multiplies": (
        lambda a, b, x: b(a(x)),
        (nn.Conv2d(6, 12, 3, groups=6),),
        "conv2d_default_1 cannot read fewer channels",
    ),
    "grouped convolution in the other branch": (
        lambda a, b, c, x: c(a(x) + b(x)),
        (nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 4, 1)),
        "conv2d_default_1 cannot write fewer channels",
    ),
    "output": (lambda a, x: a(x), (), "output cannot read fewer channels"),
    "output as well": (
        lambda a, b, x: (y := a(x), b(y)),
        (nn.Conv2d(6, 4, 1),),
        "output cannot read fewer channels",
    ),
    "concatenation": (
        lambda a, b, x: b(torch.cat([a(x), x[:, :, 2:, 2:]], 1)),
        (nn.Conv2d(9, 4, 1),),
        "cat cannot read fewer channels",
    ),
    "permutation": (
        lambda a, b, x: b(a(x).permute(0, 2, 3, 1)),
        (nn.Linear(6, 4),),
        "permute cannot read fewer channels",
    ),
    "flattened image": (
        lambda a, b, x: b(a(x).flatten(1)),
        (nn.Linear(180, 4),),
        "view cannot read fewer channels",
    ),
    "mean over the channels": (
        lambda a, x: a(x).mean(1),
        (),
        "mean cannot read fewer channels",
    ),
    "linear layer over the columns": (
        lambda a, b, x: b(a(x)),
        (nn.Linear(5, 4),),
        "linear_default cannot read fewer channels",
    ),
    "broadcast along the channels": (
        lambda a, b, c, x: c(a(x) * b(x)),
        (nn.Conv2d(3, 1, 3), nn.Conv2d(6, 4, 1)),
        "mul cannot read fewer channels",
    ),
    "mean of all elements": (lambda a, x: a(x).mean(), (), "mean cannot read fewer channels"),
    "operator that is not known": (
        lambda a, b, x: b(a(x).exp()),
        (nn.Conv2d(6, 4, 1),),
        "exp cannot read fewer channels",
    ),
    "parameter of lower rank": (
        lambda a, b, c, x: c(a(x) + b.bias.reshape(6, 1, 1)),
        (nn.Conv2d(1, 6, 1), nn.Conv2d(6, 4, 1)),
        "add cannot read fewer channels",
    ),
    "channels on another axis in the other branch": (
        lambda a, b, x: a(x) + b(x[:, :, 2:].repeat(1, 2, 1, 1)),
        (nn.Linear(7, 5),),
        "add cannot read fewer channels",
    ),
    "bias that is computed": (
        lambda a, b, x: functional.conv2d(a(x), b.weight, x.mean((0, 2, 3))),
        (nn.Conv2d(6, 3, 1),),
        "conv2d_1 cannot read fewer channels",
    ),
    "weight that is computed": (
        # It stays an ATen convolution.
        lambda a, b, x: functional.conv2d(a(x), b.weight * x.mean()),
        (nn.Conv2d(6, 4, 1),),
        "conv2d_1 cannot read fewer channels",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, others, reason = REFUSED[name]
    first = nn.Conv2d(3, 6, 3)
    program = pruned_program(Compute(function, first, *others), rng, lambda: silence(first, 1))
    before, _ = rewrite(PASSES.removesuffix(",prune-channels"), program, rng)
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 0
    assert reasons(record) == [reason]
    assert weight_shapes(after) == weight_shapes(before)


# They read axis 1 of what has its channels on axis 3.
ACROSS: dict[str, tuple[nn.Module, str]] = {
    "convolution": (nn.Conv2d(3, 4, 1), "conv2d_default cannot read fewer channels"),
    "depthwise convolution": (nn.Conv2d(3, 3, 1, groups=3), "conv2d_default cannot read fewer channels"),
    "pooling": (nn.MaxPool2d(2), "max_pool2d cannot read fewer channels"),
}


@pytest.mark.parametrize("name", ACROSS)
def test_refuses_what_works_across_the_channels_of_a_linear_layer(name: str, rng: torch.Generator) -> None:
    reader, reason = ACROSS[name]
    first = nn.Linear(7, 6)
    program = pruned_program(nn.Sequential(first, reader), rng, lambda: silence(first, 1))
    _, record = rewrite(PASSES, program, rng)
    assert record.count == 0
    assert reasons(record) == [reason]


def test_refuses_a_constant_that_is_not_finite(rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)
    program = pruned_program(nn.Sequential(first, second), rng, lambda: silence(first, 1, bias=float("inf")))
    _, records = run_pipeline(Pipeline.parse(PASSES), program)
    assert records[-1].count == 0
    assert reasons(records[-1]) == ["channel 1 is not constant where conv2d_default_1 reads it"]


def test_removes_the_channels_that_it_can_and_refuses_the_rest(rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, padding=1)

    def edit() -> None:
        silence(first, 0)
        silence(first, 2, bias=1.0)

    after, record = rewrite(PASSES, pruned_program(nn.Sequential(first, nn.ReLU(), second), rng, edit), rng)
    assert record.count == 1
    assert reasons(record) == [
        "channel 1 is a constant other than zero, and conv2d_default_1 pads with zeros"
    ]
    assert weight_shapes(after) == [(5, 3, 3, 3), (4, 5, 3, 3)]


def test_leaves_a_convolution_in_another_layout(rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)
    program = pruned_program(nn.Sequential(first, second), rng, lambda: silence(first, 1))
    _, record = rewrite("raise-operators,convert-layout,prune-channels", program, rng)
    assert (record.count, record.refusals) == (0, ())


def test_leaves_a_network_without_zero_channels(rng: torch.Generator) -> None:
    parts = (nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 5, 3, padding=1))
    _, record = rewrite(PASSES, pruned_program(squeeze_excite(*parts), rng, lambda: None), rng)
    assert (record.count, record.refusals) == (0, ())


@pytest.mark.parametrize("seed", range(5))
def test_random_rows_of_a_residual_network(seed: int, rng: torch.Generator) -> None:
    """Each layer of a stem and two inverted residual blocks loses random channels; the stream loses the same."""
    rng.manual_seed(seed)
    stem = nn.Conv2d(3, 8, 3, padding=1)
    blocks = [
        (nn.Conv2d(8, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(12, 8, 1))
        for _ in range(2)
    ]

    def network(*arguments: Any) -> torch.Tensor:
        first, *layers, head, x = arguments
        y: torch.Tensor = first(x)
        for expand, depthwise, project in zip(*[iter(layers)] * 3, strict=True):
            y = y + project(depthwise(expand(y).relu()).relu())
        return head(y.mean((2, 3)))  # type: ignore[no-any-return]

    stream = torch.randperm(8, generator=rng)[:3].tolist()
    hidden = [torch.randperm(12, generator=rng)[:number].tolist() for number in (5, 7)]

    def edit() -> None:
        silence(stem, *stream)
        for (expand, _, project), channels in zip(blocks, hidden, strict=True):
            silence(expand, *channels)
            silence(project, *stream)

    head = nn.Linear(8, 4)
    module = Compute(network, stem, *(layer for block in blocks for layer in block), head)
    after, record = rewrite(PASSES, pruned_program(module, rng, edit), rng)
    assert record.count >= 3
    assert record.refusals == ()
    assert weight_shapes(after) == [
        (5, 3, 3, 3),
        *[(7, 5, 1, 1), (7, 1, 3, 3), (5, 7, 1, 1)],
        *[(5, 5, 1, 1), (5, 1, 3, 3), (5, 5, 1, 1)],
        (4, 5),
    ]
