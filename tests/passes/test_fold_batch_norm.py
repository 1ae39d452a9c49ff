"""fold-batch-norm: an inference batch norm joins the convolution or linear layer before it."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.ops import conv2d
from lwc.pipeline import Pipeline, run_pipeline
from tests.programs import Shape, operators, program_of, reasons, rewrite

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


def second_user(own: nn.Module, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Something else reads the convolution."""
    y = own(x)
    total: torch.Tensor = norm(y) + y
    return total


def second_user_of_the_reshape(own: nn.Module, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Something else reads the reshape between them."""
    y = own(x).flatten(0, 1)
    total: torch.Tensor = norm(y) + y
    return total


def second_user_before_the_reshape(own: nn.Module, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Something else reads the linear layer, the norm a reshape of it."""
    y = own(x)
    total: torch.Tensor = norm(y.flatten(0, 1)).reshape_as(y) + y
    return total


def read_statistics(own: nn.Module, norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """Something reads the batch norm's second result, which is empty in evaluation."""
    y, mean, _ = torch.ops.aten._native_batch_norm_legit_no_training(
        own(x), norm.weight, norm.bias, norm.running_mean, norm.running_var, 0.1, 1e-5
    )
    total: torch.Tensor = y + mean.sum()
    return total


def given_mean(own: nn.Module, norm: nn.BatchNorm2d, x: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """The mean is an input."""
    return functional.batch_norm(own(x), mean, norm.running_var, training=False)


def given_scale(own: nn.Module, norm: nn.BatchNorm2d, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The scale is an input."""
    return functional.batch_norm(own(x), norm.running_mean, norm.running_var, scale, training=False)


def through_an_activation(own: nn.Module, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Only after fuse-activation does the norm follow the convolution itself."""
    normalised: torch.Tensor = norm(own(x).relu())
    return normalised


def writes_nhwc(own: nn.Conv2d, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The norm's axis 1 is the convolution's rows."""
    arguments = (None, [1, 1], [0, 0, 0, 0], [1, 1], 1, "identity", None, None, "NHWC", "NHWC")
    normalised: torch.Tensor = norm(conv2d(x, own.weight, own.bias, *arguments))
    return normalised


def mixes_channels(own: nn.Module, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The reshape's last axis is not the linear layer's."""
    normalised: torch.Tensor = norm(own(x).reshape(10, 3))
    return normalised


def mixes_channels_of_an_image(own: nn.Module, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A convolution's channels do not stay where they are in a reshape."""
    normalised: torch.Tensor = norm(own(x).reshape(2, 3, -1))
    return normalised


def given_transposed_weight(
    own: nn.ConvTranspose2d, norm: nn.Module, x: torch.Tensor, weight: torch.Tensor
) -> Any:
    """The transposed convolution's weight is an input."""
    return norm(functional.conv_transpose2d(x, weight, own.bias))


def given_transposed_bias(
    own: nn.ConvTranspose2d, norm: nn.Module, x: torch.Tensor, bias: torch.Tensor
) -> Any:
    """The transposed convolution's bias is an input."""
    return norm(functional.conv_transpose2d(x, own.weight, bias))


def without_a_batch(own: nn.ConvTranspose2d, norm: nn.BatchNorm2d, x: torch.Tensor) -> Any:
    """The norm's axis 1 is the image's rows."""
    return functional.batch_norm(own(x), norm.running_mean, norm.running_var)


CONVOLUTION = (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))
TRANSPOSE = (nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6))
LINEAR = (nn.Linear(4, 6), nn.BatchNorm1d(6))
TOKENS = (2, 5, 4)
OTHER_USER = "the layer before it has another user"
NOT_CONSTANT = "its statistics or its affine parameters are not constants"
TRANSPOSED_NOT_CONSTANT = "the transposed convolution's weight or its bias is not a constant"
MOVES = "a reshape between them moves the channel axis"
REFUSED: dict[str, tuple[Any, tuple[nn.Module, ...], tuple[Shape, ...], str]] = {
    "second user": (second_user, CONVOLUTION, (IMAGE,), OTHER_USER),
    "second user of the reshape": (second_user_of_the_reshape, LINEAR, (TOKENS,), OTHER_USER),
    "second user before the reshape": (second_user_before_the_reshape, LINEAR, (TOKENS,), OTHER_USER),
    "statistics": (read_statistics, CONVOLUTION, (IMAGE,), "its statistics are read"),
    "mean": (given_mean, CONVOLUTION, (IMAGE, (6,)), NOT_CONSTANT),
    "scale": (given_scale, CONVOLUTION, (IMAGE, (6,)), NOT_CONSTANT),
    "second user of a transposed convolution": (second_user, TRANSPOSE, (IMAGE,), OTHER_USER),
    "statistics after a transposed convolution": (
        read_statistics,
        TRANSPOSE,
        (IMAGE,),
        "its statistics are read",
    ),
    "mean after a transposed convolution": (given_mean, TRANSPOSE, (IMAGE, (6,)), NOT_CONSTANT),
    "other channels of a transposed convolution": (
        mixes_channels_of_an_image,
        (nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm1d(3)),
        (IMAGE,),
        MOVES,
    ),
    "weight of a transposed convolution": (
        given_transposed_weight,
        TRANSPOSE,
        (IMAGE, (4, 6, 3, 3)),
        TRANSPOSED_NOT_CONSTANT,
    ),
    "bias of a transposed convolution": (
        given_transposed_bias,
        TRANSPOSE,
        (IMAGE, (6,)),
        TRANSPOSED_NOT_CONSTANT,
    ),
    "no batch": (
        without_a_batch,
        (nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(9)),
        ((4, 7, 6),),
        "the transposed convolution's image has no batch axis",
    ),
    "NHWC": (
        writes_nhwc,
        (nn.Conv2d(4, 5, 1), nn.BatchNorm2d(6)),
        ((2, 6, 5, 4),),
        "the convolution writes NHWC",
    ),
    "other channels": (mixes_channels, (nn.Linear(4, 6), nn.BatchNorm1d(3)), ((5, 4),), MOVES),
    "other channels of an image": (
        mixes_channels_of_an_image,
        (nn.Conv2d(4, 6, 3), nn.BatchNorm1d(3)),
        (IMAGE,),
        MOVES,
    ),
    "tokens": (
        lambda own, norm, x: norm(own(x)),
        (nn.Linear(4, 6), nn.BatchNorm1d(5)),
        (TOKENS,),
        "it does not normalise the last axis, which the linear layer writes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, parts, shapes, reason = REFUSED[name]
    after, record = rewrite(PASSES, program_of(function, *shapes, rng=rng, parts=parts), rng)
    assert record.count == 0
    assert reasons(record) == [reason]
    assert "aten._native_batch_norm_legit_no_training.default" in operators(after)


def test_refuses_where_an_activation_stands_between(rng: torch.Generator) -> None:
    program = program_of(through_an_activation, IMAGE, rng=rng, parts=CONVOLUTION)
    _, record = rewrite("raise-operators,fuse-activation,fold-batch-norm", program, rng)
    assert record.count == 0
    assert reasons(record) == ["an activation stands between"]


def test_refuses_a_transposed_convolution_of_half_precision(rng: torch.Generator) -> None:
    module = nn.Sequential(nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6)).to(torch.bfloat16)
    program = program_of(lambda own, x: own(x.bfloat16()), IMAGE, rng=rng, parts=(module,))
    _, records = run_pipeline(Pipeline.parse(PASSES), program)
    reason = "the transposed convolution's dtype is torch.bfloat16"
    assert (records[-1].count, reasons(records[-1])) == (0, [reason])


NO_CANDIDATES: dict[str, tuple[nn.Module, Shape]] = {
    "no layer before it": (nn.BatchNorm2d(4), IMAGE),
    "an activation before it": (nn.Sequential(nn.Conv2d(4, 6, 3), nn.Tanh(), nn.BatchNorm2d(6)), IMAGE),
    "a convolution that stays ATen's": (nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)), (2, 4, 7)),
    "statistics of the batch": (
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, track_running_stats=False)),
        IMAGE,
    ),
    "a layer norm": (nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6)), (5, 4)),
}


@pytest.mark.parametrize("name", NO_CANDIDATES)
def test_leaves_alone(name: str, rng: torch.Generator) -> None:
    module, shape = NO_CANDIDATES[name]
    _, record = rewrite(PASSES, program_of(module, shape, rng=rng), rng)
    assert (record.count, record.refusals) == (0, ())
