"""prune-channels: what it leaves or refuses, and with which reason."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.pipeline import Pipeline, run_pipeline
from tests.passes.pruned_networks import (
    PASSES,
    Function,
    pruned_program,
    silence,
    squeeze_excite,
    weight_shapes,
)
from tests.programs import Compute, reasons, rewrite


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
