"""fold-batch-norm: an inference batch norm joins the convolution or linear layer before it."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.programs import Shape, operators, program_of, rewrite

IMAGE = (2, 4, 7, 6)
PASSES = "raise-operators,fold-batch-norm"

FOLDED: dict[str, tuple[nn.Module, Shape]] = {
    "dense": (nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)), IMAGE),
    "without a bias": (nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)), IMAGE),
    "depthwise": (nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8)), IMAGE),
    "grouped": (nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), IMAGE),
    "padded": (nn.Sequential(nn.Conv2d(4, 6, 3, padding=2), nn.BatchNorm2d(6)), IMAGE),
    "without affine": (nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6, affine=False)), IMAGE),
    "as many outputs as inputs": (nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)), IMAGE),
    "large epsilon": (nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6, eps=0.5)), IMAGE),
    "linear": (nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), (5, 4)),
    "linear without a bias": (nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)), (5, 4)),
    "linear of one width": (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (5, 4)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folds(name: str, rng: torch.Generator) -> None:
    module, shape = FOLDED[name]
    after, record = rewrite(PASSES, program_of(module, shape, rng=rng), rng)
    assert record.count == 1
    assert len(operators(after)) == 1


# What differs from a transposed convolution of 4 channels to 6.
TRANSPOSED: dict[str, dict[str, Any]] = {
    "plain": {},
    "without a bias": {"bias": False},
    "grouped": {"groups": 2},
    "depthwise": {"groups": 4, "out_channels": 8},
    "as many outputs as inputs": {"out_channels": 4},
    "as many outputs as inputs, grouped": {"out_channels": 4, "groups": 2},
    "strided": {"stride": (2, 3), "padding": 1},
    "output padding": {"stride": 2, "output_padding": (1, 0), "groups": 2, "bias": False},
    "dilated": {"dilation": (2, 3), "groups": 2},
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_folds_into_a_transposed_convolution(name: str, rng: torch.Generator) -> None:
    layer = nn.ConvTranspose2d(**({"in_channels": 4, "out_channels": 6, "kernel_size": 3} | TRANSPOSED[name]))
    module = nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels))
    after, record = rewrite(PASSES, program_of(module, IMAGE, rng=rng), rng)
    assert record.count == 1
    assert operators(after) == ["aten.conv_transpose2d.input"]


@pytest.mark.parametrize("groups", [1, 2])
def test_folds_into_a_general_convolution_that_is_transposed(groups: int, rng: torch.Generator) -> None:
    def function(own: nn.ConvTranspose2d, norm: nn.Module, x: torch.Tensor) -> Any:
        sizes = ([2, 1], [0, 1], [1, 2], True, [1, 0], groups)
        return norm(torch.ops.aten.convolution(x, own.weight, own.bias, *sizes))

    parts = (nn.ConvTranspose2d(4, 6, 3, groups=groups), nn.BatchNorm2d(6))
    after, record = rewrite(PASSES, program_of(function, IMAGE, rng=rng, parts=parts), rng)
    assert record.count == 1
    assert operators(after) == ["aten.convolution.default"]


@pytest.mark.parametrize("variance", [0.0, 1e-30, 1e-6])
def test_folds_channels_that_hardly_vary(variance: float, rng: torch.Generator) -> None:
    norm = nn.BatchNorm2d(6)
    program = program_of(nn.Sequential(nn.Conv2d(4, 6, 3), norm), IMAGE, rng=rng)
    dict(program.module.named_buffers())["1.running_var"].fill_(variance)
    _, record = rewrite(PASSES, program, rng)
    assert record.count == 1


def test_folds_a_scale_of_zero(rng: torch.Generator) -> None:
    program = program_of(nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)), IMAGE, rng=rng)
    dict(program.module.named_parameters())["1.weight"].data[::2] = 0
    _, record = rewrite(PASSES, program, rng)
    assert record.count == 1


def test_folds_one_after_another(rng: torch.Generator) -> None:
    layers = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.BatchNorm2d(6))
    after, record = rewrite(PASSES, program_of(layers, IMAGE, rng=rng), rng)
    assert record.count == 2
    assert operators(after) == ["lwc.conv2d.default"]


def levit(own: nn.Module, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """LeViT's linear layer on tokens (N, L, K), normalised over (N L, K)."""
    y = own(x)
    normalised: torch.Tensor = norm(y.flatten(0, 1)).reshape_as(y)
    return normalised


def test_folds_through_reshapes_that_keep_the_last_axis(rng: torch.Generator) -> None:
    parts = (nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6))
    after, record = rewrite(PASSES, program_of(levit, (2, 5, 4), rng=rng, parts=parts), rng)
    assert record.count == 1
    assert "aten._native_batch_norm_legit_no_training.default" not in operators(after)


def test_a_weight_of_two_layers_is_left_to_the_other(rng: torch.Generator) -> None:
    def function(own: nn.Module, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
        folded: torch.Tensor = norm(own(x)) + own(2 * x)
        return folded

    parts = (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))
    _, record = rewrite(PASSES, program_of(function, IMAGE, rng=rng, parts=parts), rng)
    assert record.count == 1


def test_two_norms_of_one_shared_layer_fold_each_into_its_own_call(rng: torch.Generator) -> None:
    def function(own: nn.Module, a: nn.Module, b: nn.Module, x: torch.Tensor) -> torch.Tensor:
        folded: torch.Tensor = a(own(x)) + b(own(2 * x))
        return folded

    parts = (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.BatchNorm2d(6))
    after, record = rewrite(PASSES, program_of(function, IMAGE, rng=rng, parts=parts), rng)
    assert record.count == 2
    assert len([o for o in operators(after) if o == "lwc.conv2d.default"]) == 2
