"""prune-channels: channels of zero weights go, from the layers that write them to those that read them."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.passes.pruned_networks import (
    PASSES,
    Function,
    ignore,
    mobile_block,
    pruned_program,
    residual,
    silence,
    squeeze_excite,
    weight_shapes,
)
from tests.programs import Compute, reasons, rewrite

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


def test_removes_a_channel_of_squeeze_and_excite(rng: torch.Generator) -> None:
    first, down, up = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
    last = nn.Conv2d(8, 5, 3, padding=1)
    module = squeeze_excite(first, down, up, last)
    after, record = rewrite(PASSES, pruned_program(module, rng, lambda: silence(first, 1, 7)), rng)
    assert record.count == 1
    assert weight_shapes(after) == [(6, 3, 3, 3), (4, 6, 1, 1), (6, 4, 1, 1), (5, 6, 3, 3)]


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
