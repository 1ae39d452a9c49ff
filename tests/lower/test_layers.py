"""Each call knows which of the model's layers it computes, and how much that is; reshapes are no calls at all."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from lwc.lower.lower import lower
from lwc.lower.program import KernelCall
from lwc.pipeline import Pipeline, run_pipeline
from lwc.targets import x86_64_v4
from tests.programs import Shape, program_of

TARGET = x86_64_v4.TARGET


class Tokens(nn.Module):
    """A convolution whose pixels become tokens, attention among them, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList([nn.Linear(16, 48), nn.Linear(16, 16)])
        self.classifier = nn.Linear(16, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(x).relu().flatten(2).transpose(1, 2)
        batch, count, _ = tokens.shape
        heads = self.blocks[0](tokens).view(batch, count, 2, 24).transpose(1, 2)
        q, k, v = heads.split(8, dim=-1)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, count, 16)
        logits: torch.Tensor = self.classifier(self.blocks[1](mixed))
        return logits.flatten(0, 1).view(batch, count, 32)


def calls_of(module: nn.Module, shape: Shape, rng: torch.Generator) -> tuple[KernelCall, ...]:
    program = replace(program_of(module, shape, rng=rng), target=TARGET)
    after, _ = run_pipeline(Pipeline.parse("default,-merge-heads"), program)
    return lower(after, TARGET).calls


def test_layers_and_their_arithmetic(rng: torch.Generator) -> None:
    calls = calls_of(Tokens(), (1, 3, 8, 8), rng)
    assert [(call.layer, call.macs) for call in calls] == [
        ("stem", 16 * 16 * 3 * 9),
        ("blocks.0", 16 * 16 * 48),
        ("", 2 * 16 * 16 * (8 + 8)),
        ("blocks.1", 16 * 16 * 16),
        ("classifier", 16 * 16 * 32),
    ]


def test_a_separable_convolution_counts_both(rng: torch.Generator) -> None:
    module = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 32, 1))
    calls = calls_of(module, (1, 16, 64, 64), rng)
    assert sum(call.macs for call in calls) == 64 * 64 * 16 * (9 + 32)


def test_an_attribute_of_the_users_own_called_model_keeps_its_name(rng: torch.Generator) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Linear(16, 16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.model(x)
            return y

    assert [call.layer for call in calls_of(Holder(), (4, 16), rng)] == ["model.0"]


def test_winograd_counts_its_own_products(rng: torch.Generator) -> None:
    calls = calls_of(nn.Conv2d(32, 32, 3, padding=1), (1, 32, 16, 16), rng)
    assert sum(call.macs for call in calls) == 16 * 16 // 4 * 16 * 32 * 32


def test_a_layer_called_twice_has_one_name(rng: torch.Generator) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.shared(self.shared(x).relu())
            return y

    assert [call.layer for call in calls_of(Twice(), (4, 16), rng)] == ["shared", "shared"]
