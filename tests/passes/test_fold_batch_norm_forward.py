"""fold-batch-norm-forward: an inference batch norm joins the linear layer or convolution that alone reads it."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.ops import conv2d, linear
from lwc.pipeline import Pipeline, run_pipeline
from tests.programs import Shape, operators, program_of, reasons, rewrite

IMAGE = (2, 4, 7, 6)
PASSES = "raise-operators,fold-batch-norm,fold-batch-norm-forward"
BATCH_NORM = "aten._native_batch_norm_legit_no_training.default"

FOLDED: dict[str, tuple[nn.Module, Shape]] = {
    "linear": (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 6)), (5, 4)),
    "linear without a bias": (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 6, bias=False)), (5, 4)),
    "dense": (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3)), IMAGE),
    "pointwise": (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, bias=False)), IMAGE),
    "depthwise": (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, groups=4)), IMAGE),
    "grouped": (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, groups=2)), IMAGE),
    "strided and dilated": (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 2, 2, dilation=3)), IMAGE),
    "without affine": (nn.Sequential(nn.BatchNorm2d(4, affine=False), nn.Conv2d(4, 6, (1, 3))), IMAGE),
    "large epsilon": (nn.Sequential(nn.BatchNorm1d(4, eps=0.5), nn.Linear(4, 6)), (5, 4)),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folds(name: str, rng: torch.Generator) -> None:
    module, shape = FOLDED[name]
    after, record = rewrite(PASSES, program_of(module, shape, rng=rng), rng)
    assert record.count == 1
    assert len(operators(after)) == 1


def test_folds_a_scale_of_zero(rng: torch.Generator) -> None:
    program = program_of(nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3)), IMAGE, rng=rng)
    dict(program.module.named_parameters())["0.weight"].data[::2] = 0
    _, record = rewrite(PASSES, program, rng)
    assert record.count == 1


def test_folds_one_after_another(rng: torch.Generator) -> None:
    layers = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.Linear(4, 6))
    after, record = rewrite(PASSES, program_of(layers, (5, 4), rng=rng), rng)
    assert record.count == 2
    assert operators(after) == ["lwc.linear.default"]


def test_folds_what_the_layer_before_cannot_take(rng: torch.Generator) -> None:
    def function(first: nn.Module, norm: nn.Module, second: nn.Module, x: torch.Tensor) -> Any:
        y = first(x)
        return second(norm(y)) + y

    parts = (nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1))
    after, record = rewrite(PASSES, program_of(function, IMAGE, rng=rng, parts=parts), rng)
    assert record.count == 1
    assert BATCH_NORM not in operators(after)


def test_leaves_a_batch_norm_to_the_layer_before(rng: torch.Generator) -> None:
    layers = nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1))
    after, record = rewrite(PASSES, program_of(layers, IMAGE, rng=rng), rng)
    assert (record.count, record.refusals) == (0, ())
    assert BATCH_NORM not in operators(after)


def test_keeps_the_layers_own_activation(rng: torch.Generator) -> None:
    layers = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3), nn.SiLU())
    passes = "raise-operators,fuse-activation,fold-batch-norm-forward"
    after, record = rewrite(passes, program_of(layers, IMAGE, rng=rng), rng)
    assert record.count == 1
    assert operators(after) == ["lwc.conv2d.default"]


def test_folds_the_two_heads_of_one_image(rng: torch.Generator) -> None:
    def heads(norm: nn.Module, own: nn.Module, norm2: nn.Module, own2: nn.Module, x: torch.Tensor) -> Any:
        return (own(norm(x)) + own2(norm2(x))) / 2

    parts = (nn.BatchNorm1d(4), nn.Linear(4, 6), nn.BatchNorm1d(4), nn.Linear(4, 6))
    after, record = rewrite(PASSES, program_of(heads, (5, 4), rng=rng, parts=parts), rng)
    assert record.count == 2
    assert BATCH_NORM not in operators(after)


def test_a_weight_of_two_layers_is_left_to_the_other(rng: torch.Generator) -> None:
    program = program_of(
        lambda norm, own, x: own(norm(x)) + own(2 * x),
        IMAGE,
        rng=rng,
        parts=(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3)),
    )
    _, record = rewrite(PASSES, program, rng)
    assert record.count == 1


def read_statistics(norm: nn.BatchNorm2d, own: nn.Module, x: torch.Tensor) -> Any:
    """Something reads the batch norm's second result, which is empty in evaluation."""
    y, mean, _ = torch.ops.aten._native_batch_norm_legit_no_training(
        x, norm.weight, norm.bias, norm.running_mean, norm.running_var, 0.1, 1e-5
    )
    return own(y) + mean.sum()


def given_mean(norm: nn.BatchNorm2d, own: nn.Module, x: torch.Tensor, mean: torch.Tensor) -> Any:
    """The mean is an input."""
    return own(functional.batch_norm(x, mean, norm.running_var, training=False))


def given_scale(norm: nn.BatchNorm2d, own: nn.Module, x: torch.Tensor, scale: torch.Tensor) -> Any:
    """The scale is an input."""
    return own(functional.batch_norm(x, norm.running_mean, norm.running_var, scale, training=False))


def given_weight(norm: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> Any:
    """The layer's weight is an input."""
    return linear(norm(x), weight, None, None, "identity", None, None)


def given_bias(norm: nn.Module, own: nn.Linear, x: torch.Tensor, bias: torch.Tensor) -> Any:
    """The layer's bias is an input."""
    return linear(norm(x), own.weight, bias, None, "identity", None, None)


def reads_nhwc(norm: nn.Module, own: nn.Conv2d, x: torch.Tensor) -> Any:
    """The convolution's rows are the norm's axis 1."""
    arguments = (None, [1, 1], [0, 0, 0, 0], [1, 1], 1, "identity", None, None, "NHWC", "NCHW")
    return conv2d(norm(x), own.weight, own.bias, *arguments)


CONVOLUTION = (nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3))
LINEAR = (nn.BatchNorm1d(4), nn.Linear(4, 4))
OTHER_USER = "it has another user than the layer after it"
PADS = "the convolution pads with zeros, which the batch norm does not reach"
NOT_CONSTANT = "its statistics or its affine parameters are not constants"
LAYER_NOT_CONSTANT = "the layer's weight or its bias is not a constant"
LAST_AXIS = "it does not normalise the last axis, which the linear layer reads"
REFUSED: dict[str, tuple[Any, tuple[nn.Module, ...], tuple[Shape, ...], str]] = {
    "second user": (lambda norm, own, x: own(y := norm(x)) + y, LINEAR, ((5, 4),), OTHER_USER),
    "two layers": (lambda norm, own, x: own(y := norm(x)) + own(y), CONVOLUTION, (IMAGE,), OTHER_USER),
    "result": (lambda norm, own, x: (own(y := norm(x)), y), CONVOLUTION, (IMAGE,), OTHER_USER),
    "statistics": (read_statistics, CONVOLUTION, (IMAGE,), "its statistics are read"),
    "mean": (given_mean, CONVOLUTION, (IMAGE, (4,)), NOT_CONSTANT),
    "scale": (given_scale, CONVOLUTION, (IMAGE, (4,)), NOT_CONSTANT),
    "weight": (given_weight, (nn.BatchNorm1d(4),), ((5, 4), (6, 4)), LAYER_NOT_CONSTANT),
    "bias": (given_bias, LINEAR, ((5, 4), (4,)), LAYER_NOT_CONSTANT),
    "padding": (
        lambda norm, own, x: own(norm(x)),
        (nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1)),
        (IMAGE,),
        PADS,
    ),
    "padding on one side": (
        lambda norm, own, x: own(norm(x)),
        (nn.BatchNorm2d(4), nn.Conv2d(4, 6, (1, 2), padding="same")),
        (IMAGE,),
        PADS,
    ),
    "NHWC": (reads_nhwc, (nn.BatchNorm2d(4), nn.Conv2d(6, 3, 1)), (IMAGE,), "the convolution reads NHWC"),
    "tokens": (
        lambda norm, own, x: own(norm(x)),
        (nn.BatchNorm1d(5), nn.Linear(4, 6)),
        ((2, 5, 4),),
        LAST_AXIS,
    ),
    "columns": (
        lambda norm, own, x: own(norm(x)),
        (nn.BatchNorm2d(4), nn.Linear(6, 3)),
        (IMAGE,),
        LAST_AXIS,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, parts, shapes, reason = REFUSED[name]
    after, record = rewrite(PASSES, program_of(function, *shapes, rng=rng, parts=parts), rng)
    assert record.count == 0
    assert reasons(record) == [reason]
    assert BATCH_NORM in operators(after)


def test_refuses_half_precision(rng: torch.Generator) -> None:
    def function(norm: nn.Module, own: nn.Linear, x: torch.Tensor) -> Any:
        return linear(norm(x.half()), own.weight, own.bias, None, "identity", None, None)

    parts = (nn.BatchNorm1d(4).half(), nn.Linear(4, 6).half())
    _, records = run_pipeline(Pipeline.parse(PASSES), program_of(function, (5, 4), rng=rng, parts=parts))
    assert (records[-1].count, reasons(records[-1])) == (0, ["its dtype is torch.float16"])


NO_CANDIDATES: dict[str, tuple[nn.Module, Shape]] = {
    "no layer after it": (nn.BatchNorm2d(4), IMAGE),
    "an activation after it": (nn.Sequential(nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 6, 3)), IMAGE),
    "a pooling after it": (nn.Sequential(nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Conv2d(4, 6, 1)), IMAGE),
    "a transposed convolution": (nn.Sequential(nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 6, 3)), IMAGE),
    "a layer norm": (nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 6)), (5, 4)),
}


@pytest.mark.parametrize("name", NO_CANDIDATES)
def test_leaves_alone(name: str, rng: torch.Generator) -> None:
    module, shape = NO_CANDIDATES[name]
    _, record = rewrite(PASSES, program_of(module, shape, rng=rng), rng)
    assert (record.count, record.refusals) == (0, ())
