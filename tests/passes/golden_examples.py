"""A small example for each pass, whose graph before and after it is kept in golden/NAME.txt.

A new pass gets an entry here; `python -m pytest tests/passes/test_golden.py --update-golden` writes its file.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lwc.graph import readable
from lwc.pipeline import Pipeline, make_pass, run_pipeline
from lwc.targets import x86_64_v4
from tests.programs import Shape, program_of

IMAGE = (1, 2, 5, 5)
TOKENS = (1, 4, 6)


@dataclass(frozen=True)
class Example:
    """A function of `parts` and of inputs of `shapes`; the passes `first` run before the one that is shown."""

    function: Callable[..., Any]
    parts: tuple[nn.Module, ...] = ()
    shapes: tuple[Shape, ...] = (IMAGE,)
    first: tuple[str, ...] = ()

    def text(self, name: str) -> str:
        """The graph before and after the pass called `name`, which has to rewrite something."""
        rng = torch.Generator().manual_seed(0)
        program = program_of(self.function, *self.shapes, rng=rng, parts=self.parts)
        program = replace(program, target=x86_64_v4.TARGET)
        before, _ = run_pipeline(Pipeline(tuple(map(make_pass, self.first))), program)
        after, (*_, record) = run_pipeline(Pipeline(tuple(map(make_pass, (*self.first, name)))), program)
        assert record.count, f"{name} rewrites nothing in its example"
        return f"before:\n{readable(before.module.graph)}\nafter:\n{readable(after.module.graph)}"


def attention(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """Attention of two heads."""
    heads = [part(x).reshape(1, 4, 2, 3).transpose(1, 2) for part in (q, k, v)]
    scores = heads[0] @ heads[1].transpose(-1, -2)
    return scores.softmax(-1) @ heads[2]


def pruned(own: nn.Conv2d, after: nn.Conv2d, x: torch.Tensor) -> Any:
    """The last of three channels has no weights."""
    weight = torch.cat([own.weight[:2], own.weight[2:] * 0])
    return after(functional.conv2d(x, weight).relu())


class Rounded(nn.Module):
    """A pointwise convolution in NHWC, 2 to 3 channels, of rounded weights on a rounded image."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.tensor([[1, -2], [3, 127], [-127, 0]], dtype=torch.int8)
        self.register_buffer("integers", weight.reshape(3, 2, 1, 1))
        self.register_buffer("scales", torch.tensor([0.5, 0.25, 0.125]))
        self.register_buffer("bias", torch.tensor([1.0, -1.0, 0.5]))
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (1, 5, 5, 2), float32 in and out."""
        lwc = torch.ops.lwc
        weight = lwc.dequantize_weight(self.integers, self.scales)
        image = lwc.dequantize(lwc.quantize(x, 2.0, 128, "uint8"), self.scale, 128)
        bounds = ("identity", 0.0, 6.0, "NHWC", "NHWC")
        y = lwc.conv2d(image, weight, self.bias, None, [1, 1], [0] * 4, [1, 1], 1, *bounds)
        return torch.as_tensor(lwc.dequantize(lwc.quantize(y, 4.0, 0, "uint8"), self.scale, 0))


# No parameter, which would be made random.
HALF = torch.tensor(0.5)
TWOS, HALVES = torch.full((6,), 2.0), torch.full((6,), 0.5)


def rounded_attention(x: torch.Tensor, twos: torch.Tensor, halves: torch.Tensor) -> torch.Tensor:
    """Attention of two heads of three channels, on tokens to the nearest half."""
    tokens = torch.ops.lwc.dequantize_channels(torch.ops.lwc.quantize_channels(x, twos, "uint8"), halves)
    heads = ([0, 3, 3], [0, 3, 3], [0, 3, 3])
    y = torch.ops.lwc.attention(tokens, tokens, tokens, None, 2, *heads, 0.5, "identity", None, None)
    return torch.as_tensor(y)


def rounded(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """x to the nearest half and back."""
    integers = torch.ops.lwc.quantize(x, 2.0, 128, "uint8")
    return torch.as_tensor(torch.ops.lwc.dequantize(integers, scale, 128))


EXAMPLES: dict[str, Example] = {
    "remove-identities": Example(
        lambda drop, x: drop(x.reshape(IMAGE)).to(torch.float32) + 1, (nn.Dropout(),)
    ),
    "fold-constants": Example(lambda x: x + torch.arange(5.0) * 2),
    "merge-common-subexpressions": Example(lambda x: x.exp() + x.exp()),
    "raise-operators": Example(
        lambda own, head, x: head(own(x).flatten(1)),
        (nn.Conv2d(2, 3, (3, 2), padding="same"), nn.Linear(75, 4, bias=False)),
    ),
    "fold-padding": Example(
        lambda own, x: own(functional.pad(x, (0, 1, 0, 1))),
        (nn.Conv2d(2, 3, 3, stride=2),),
        first=("raise-operators",),
    ),
    "fold-batch-norm": Example(
        lambda own, norm, x: norm(own(x)),
        (nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3)),
        first=("raise-operators",),
    ),
    "fold-batch-norm-forward": Example(
        lambda norm, own, x: own(norm(x.relu())),
        (nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3)),
        first=("raise-operators",),
    ),
    "decompose-batch-norm": Example(lambda norm, x: norm(x), (nn.BatchNorm2d(2),)),
    "recognize-clamps": Example(lambda x: x.clamp_max(6).clamp_min(0)),
    "recognize-activations": Example(lambda x: x * functional.relu6(x + 3) / 6),
    "merge-heads": Example(
        lambda a, b, x: (a(x) + b(x)) / 2,
        (nn.Linear(6, 3), nn.Linear(6, 3)),
        (TOKENS,),
        first=("raise-operators",),
    ),
    "fuse-activation": Example(
        lambda own, x: functional.silu(own(x)), (nn.Conv2d(2, 3, 1),), first=("raise-operators",)
    ),
    "prune-channels": Example(
        pruned,
        (nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1)),
        first=("fold-constants", "raise-operators", "fuse-activation"),
    ),
    "zero-channels": Example(
        lambda own, after, x: after(own(x).relu()),
        (nn.Conv2d(2, 64, 1), nn.Conv2d(64, 2, 1)),
        first=("raise-operators", "fuse-activation"),
    ),
    "merge-parallel-linear": Example(
        attention,
        (nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 6)),
        (TOKENS,),
        first=("raise-operators",),
    ),
    "fuse-residual-add": Example(
        lambda own, x: own(x) + x.tanh(), (nn.Conv2d(2, 2, 1),), first=("raise-operators",)
    ),
    "fuse-attention": Example(
        attention,
        (nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)),
        (TOKENS,),
        first=("raise-operators", "merge-parallel-linear"),
    ),
    "fold-attention-scale": Example(
        lambda q, x: functional.scaled_dot_product_attention(
            *[part.reshape(1, 4, 2, 3).transpose(1, 2) for part in (q(x), x, x)]
        ),
        (nn.Linear(6, 6),),
        (TOKENS,),
        first=("raise-operators", "fuse-attention"),
    ),
    "convert-layout": Example(lambda own, x: own(x), (nn.Conv2d(2, 3, 3),), first=("raise-operators",)),
    "sink-transposes": Example(
        lambda own, after, x: after(own(x).exp()).mean((2, 3)),
        (nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1)),
        first=("raise-operators", "convert-layout"),
    ),
    "select-depthwise-kernel": Example(
        lambda own, after, x: after(own(x)),
        (nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 3, 1)),
        first=("raise-operators", "convert-layout", "sink-transposes"),
    ),
    "merge-transposes": Example(
        lambda x: x.transpose(1, 2).reshape(3, 8).t(), shapes=(TOKENS,), first=("remove-identities",)
    ),
    "equalize-channels": Example(
        lambda own, after, x: after(own(x * torch.tensor([1.0, 64.0])).relu()),
        (nn.Linear(2, 3), nn.Linear(3, 2)),
        ((1, 4, 2),),
        first=("raise-operators", "fuse-activation"),
    ),
    "hoist-quantize": Example(
        lambda x: torch.ops.lwc.quantize(
            torch.cat([x.permute(0, 2, 1), x.exp().permute(0, 2, 1)]), 2.0, 8, "uint8"
        ),
        shapes=(TOKENS,),
    ),
    "cancel-requantize": Example(lambda x: rounded(rounded(x, HALF), HALF), shapes=(TOKENS,)),
    "sink-dequantize": Example(lambda x: rounded(x, HALF).permute(0, 2, 1), shapes=(TOKENS,)),
    "lower-int8-attention": Example(
        lambda x: rounded(rounded_attention(x, TWOS, HALVES), HALF), shapes=(TOKENS,)
    ),
    "lower-int8-elementwise": Example(
        lambda x: rounded((rounded(x, HALF) + rounded(x.exp(), HALF)).relu(), HALF), shapes=(TOKENS,)
    ),
    "dequantize-weights": Example(lambda own, x: own(x), (Rounded(),), ((1, 5, 5, 2),)),
    "lower-int8": Example(lambda own, x: own(x), (Rounded(),), ((1, 5, 5, 2),)),
}
