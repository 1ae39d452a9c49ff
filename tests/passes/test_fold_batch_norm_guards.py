"""fold-batch-norm: what it leaves or refuses, and with which reason."""

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
