"""Cross-layer equalisation: used where it halves the noise, and said."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from lwc.pipeline import Pipeline, run_pipeline
from lwc.quantize import equalize
from lwc.quantize.data import CalibrationData
from lwc.quantize.noise import signal_to_noise_db
from lwc.quantizing import FLOAT_ONLY, Quantized, to_integers
from lwc.targets.resolve import resolve_target
from lwc.trace import Program
from tests.programs import program_of, random_inputs, run

IMAGE = (1, 3, 10, 10)


class Separable(nn.Module):
    """A stem and two depthwise-separable blocks with ReLU, a mean and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(3, 16, 3, stride=2),
                nn.Conv2d(16, 16, 3, padding=1, groups=16),
                nn.Conv2d(16, 24, 1),
                nn.Conv2d(24, 24, 3, padding=1, groups=24),
                nn.Conv2d(24, 32, 1),
            ]
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ten logits."""
        for layer in self.layers:
            x = layer(x).relu()
        return torch.as_tensor(self.head(x.mean((2, 3))))


def separable(rng: torch.Generator, octaves: float) -> Program:
    """The program that is quantized; its channels are scaled apart, at random, which changes nothing it gives."""
    program = replace(program_of(Separable(), IMAGE, rng=rng), target=resolve_target("x86-64-v3"))
    module: Any = program.module
    layers = [*(module.layers.get_submodule(str(number)) for number in range(5)), module.head]
    with torch.no_grad():
        for writer, reader in pairwise(layers):
            scales = torch.exp2(octaves * torch.randn(len(writer.weight), generator=rng))
            writer.weight.div_(scales.reshape(-1, 1, 1, 1))
            writer.bias.div_(scales)
            shape = (-1, 1) if reader.weight.shape[1] == 1 else (1, -1)
            reader.weight.mul_(scales.reshape(*shape, *[1] * (reader.weight.dim() - 2)))
    passes = tuple(item for item in Pipeline.parse("default").passes if item.name != FLOAT_ONLY)
    return run_pipeline(Pipeline(passes), program)[0]


def quantized(program: Program, rng: torch.Generator) -> tuple[Quantized, list[str], float]:
    """What was made, what was noted meanwhile, and the signal to noise on fresh inputs (dB)."""
    samples = tuple(random_inputs((IMAGE,), rng) for _ in range(16))
    notes: list[str] = []
    found = to_integers(program, CalibrationData(samples, "noise"), notes.append)
    fresh = [random_inputs((IMAGE,), rng) for _ in range(16)]
    want, got = (torch.cat([run(p, x)[0] for x in fresh]).numpy() for p in (program, found.integer))
    ratio = signal_to_noise_db(want, got)
    assert ratio is not None
    return found, notes, ratio


def test_channels_far_apart_are_equalized(rng: torch.Generator) -> None:
    found, notes, ratio = quantized(separable(rng, 3.0), rng)
    assert found.quantization.equalized_tensors == 5
    assert notes[-1] == "equalized: sample 16 of 16"
    print(f"signal to noise {ratio:.1f} dB")
    assert ratio > 20


def test_without_enough_of_a_gain_nothing_is_equalized(
    rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equalize, "_WORTH", 0.0)
    found, notes, _ = quantized(separable(rng, 3.0), rng)
    # It was tried.
    assert notes[-1] == "equalized: sample 16 of 16"
    assert found.quantization.equalized_tensors == 0
