"""Many operators, each an output of one model: they agree with PyTorch on this machine and on 64-bit ARM."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.compiled.blocks import Blocks
from tests.compiled.support import MAP, agrees, compile_module, require_runner
from tests.programs import random_inputs, randomize

pytestmark = pytest.mark.slow

Function = Callable[[torch.Tensor], torch.Tensor]
ACTIVATIONS = (
    functional.celu,
    functional.elu,
    functional.gelu,
    functional.hardsigmoid,
    functional.hardswish,
    functional.hardtanh,
    functional.leaky_relu,
    functional.logsigmoid,
    functional.mish,
    functional.relu,
    functional.relu6,
    functional.selu,
    functional.sigmoid,
    functional.silu,
    functional.softplus,
    functional.softsign,
    functional.tanh,
)


def activate(activation: Function, x: torch.Tensor) -> torch.Tensor:
    """Of values from about -6 to 6."""
    return activation(2 * x)


def attention(x: torch.Tensor) -> torch.Tensor:
    tokens = x.flatten(2).transpose(1, 2)[None]
    return functional.scaled_dot_product_attention(tokens, tokens * 0.3, tokens)


def gated(x: torch.Tensor) -> torch.Tensor:
    left, right = x.chunk(2, 1)
    return left * right.sigmoid()


def patches(x: torch.Tensor) -> torch.Tensor:
    """As MobileViT unfolds a map."""
    return x[:, :, :8, :10].reshape(6, 4, 2, 5, 2).transpose(2, 3).reshape(1, 6, 20, 4).transpose(1, 3) * 1.5


# One module a group: a function of a map of 1 x 6 x 9 x 11 for each output.
GROUPS: dict[str, tuple[Function, ...]] = {
    "activations": (
        *(partial(activate, activation) for activation in ACTIVATIONS),
        lambda x: functional.gelu(x, approximate="tanh"),
        lambda x: x.clamp(-0.3, 0.7),
        lambda x: x.clamp(min=-0.3),
    ),
    "arithmetic": (
        lambda x: (x.abs() + 1).sqrt() + (x.abs() + 1).log() + (x / 3).exp(),
        lambda x: x.pow(2) - (x.abs() + 0.1).rsqrt() + x.sin() + x.cos() + x.erf(),
        lambda x: torch.where(x > 0, x, 0.1 * x),
        lambda x: torch.maximum(x, x.mean(1, keepdim=True)) - torch.minimum(x, 2 * x),
        lambda x: (3 * x).round() + x.floor() + x.ceil() + x.sign(),
        lambda x: (x > 0).float() * x + (3 * x).to(torch.int32).float(),
        lambda x: x + torch.arange(11, dtype=torch.float32),
        lambda x: x.mean(1, keepdim=True).expand(1, 3, 9, 11) * torch.full((3, 1, 1), 0.5),
    ),
    "normalisation": (
        lambda x: x.softmax(-1) * 10,
        lambda x: x.softmax(1) * 10,
        lambda x: x.log_softmax(1),
        lambda x: functional.layer_norm(x, (11,), x.new_full((11,), 0.7), x.new_ones(11)),
        lambda x: functional.layer_norm(x, (9, 11), x.new_full((9, 11), 0.7), x.new_ones(9, 11)),
        lambda x: functional.group_norm(x, 3, x.new_full((6,), 0.7), x.new_ones(6)),
        lambda x: functional.instance_norm(x),
        lambda x: functional.normalize(x, dim=1),
        lambda x: x.var(1) + x.var((2, 3), correction=0)[:, :1, None],
    ),
    "pooling": (
        lambda x: functional.max_pool2d(x, 3, 2, 1),
        lambda x: functional.max_pool2d(x, 2, 2, ceil_mode=True),
        lambda x: functional.max_pool2d(x, 3, 1, 1, dilation=2),
        lambda x: functional.avg_pool2d(x, 3, 2, 1),
        lambda x: functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda x: functional.avg_pool2d(x, 2, 2, ceil_mode=True),
        lambda x: 3 * functional.adaptive_avg_pool2d(x, (4, 5)),
        lambda x: 10 * functional.adaptive_avg_pool2d(x, 1),
        lambda x: 10 * x.mean((2, 3)),
    ),
    "resizing": (
        lambda x: functional.interpolate(x, size=(17, 20), mode="bilinear", align_corners=False),
        lambda x: functional.interpolate(x, size=(17, 20), mode="bilinear", align_corners=True),
        lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda x: functional.interpolate(x, size=(4, 5), mode="bilinear"),
        lambda x: functional.interpolate(x, size=(17, 20), mode="bicubic"),
        lambda x: functional.pad(x, (1, 2, 3, 0), value=0.7),
        lambda x: functional.pad(x, (-1, 2, -3, 0)),
        lambda x: functional.pad(x, (2, 2, 2, 2), mode="reflect"),
    ),
    "views": (
        lambda x: x.permute(0, 2, 3, 1).reshape(1, 99, 6).transpose(1, 2).reshape(1, 6, 11, 9),
        patches,
        lambda x: functional.pixel_unshuffle(x[:, :, :8, :10], 2),
        lambda x: functional.channel_shuffle(x, 3),
        lambda x: x[:, 1:5:2, ::2, 3:] + x.roll(1, 2).flip(3)[:, 1:5:2, ::2, 3:],
        lambda x: torch.stack([x, 2 * x], 1).sum(2),
        lambda x: torch.cat([x, x[:, :1], -x], 1),
        lambda x: torch.cat([x, x[:, :, :3]], 2),
        gated,
        lambda x: x[:, [2, 0, 1]],
        lambda x: x.flatten()[:17],
    ),
    "products": (
        attention,
        lambda x: x @ x.transpose(-1, -2),
        lambda x: x @ x[0, 0, :5].transpose(0, 1),
        lambda x: x[0, 0, 0] @ x[0, 1].transpose(0, 1),
        lambda x: torch.einsum("bchw,bdhw->bcd", x, 0.1 * x),
    ),
}


class Branches(nn.Module):
    """Every function of the same map, each an output."""

    def __init__(self, functions: tuple[Function, ...]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(function(x) for function in self.functions)


@pytest.mark.parametrize("target", ["native", "arm64"])
@pytest.mark.parametrize("group", GROUPS)
def test_operators(group: str, target: str, tmp_path: Path, rng: torch.Generator) -> None:
    require_runner(target)
    agrees(tmp_path, group, Branches(GROUPS[group]), MAP, rng=rng, target=target)


@pytest.mark.parametrize("target", ["native", "arm64", "cuda:sm_80"])
def test_blocks(target: str, tmp_path: Path, rng: torch.Generator) -> None:
    require_runner(target)
    agrees(tmp_path, "blocks", Blocks(), MAP, rng=rng, target=target)


def test_blocks_in_half_precision(tmp_path: Path, rng: torch.Generator) -> None:
    blocks = Blocks()
    randomize(blocks, rng)
    result = compile_module(
        tmp_path / "blocks", blocks, random_inputs((MAP,), rng), "cuda:sm_80", precision="fp16"
    )
    for output in result.manifest.verification.outputs:
        assert output.rms_error is not None
        assert output.rms_error <= output.rms_limit < output.deviation / 5, output
