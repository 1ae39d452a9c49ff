"""Attention on integers gives the bits of its operator in PyTorch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lwc.ops import dequantize, qattention, quantize, quantize_channels
from lwc.targets.resolve import resolve_target
from tests.compiled.support import compile_module, require_runner, results
from tests.programs import Shape, random_inputs

pytestmark = pytest.mark.slow

# vnni, madd, smull, sdot, and a GPU, which is emulated where there is none.
TARGETS = ("native", "x86-64-v3", "arm64", "cortex-a76", "cuda:sm_80")


@dataclass(frozen=True)
class Case:
    """An attention; with `queries` None the queries are of the same tokens as keys and values."""

    batch: int
    heads: int
    keys: int
    queries: int | None
    size: int
    value_size: int
    biased: bool
    zero_point: int | None


CASES = (
    # LeViT, and its subsampled attention; MobileViT; sizes and counts that no word divides.
    Case(2, 2, 49, None, 16, 32, True, 3),
    Case(1, 4, 49, 16, 16, 64, True, 0),
    Case(2, 4, 64, None, 36, 36, False, -7),
    Case(1, 2, 21, None, 60, 60, False, 0),
    Case(1, 3, 7, None, 5, 9, True, None),
)


class Attention(nn.Module):
    """dequantize(qattention(quantize(x))), the heads as a merged linear layer has them: all q, all k, all v."""

    def __init__(self, case: Case, dtype: str, rng: torch.Generator) -> None:
        super().__init__()
        self.case, self.dtype, self.middle = case, dtype, 128 if dtype == "uint8" else 0
        heads, size = case.heads, case.size
        self.own = 0 if case.queries is None else heads * size
        bias = torch.randn((heads, case.queries or case.keys, case.keys), generator=rng)
        self.register_buffer("bias", bias if case.biased else None)
        # Scores of a standard deviation near 2.
        factors = 0.5 + torch.rand(heads, generator=rng)
        self.register_buffer("multiplier", factors * 2 / (40**2 * size**0.5))
        spread = 0.5 + torch.rand(heads * case.value_size, generator=rng)
        self.register_buffer("value_multiplier", spread)
        self.register_buffer("step", torch.tensor(1.0))
        self.register_buffer("inverse", 30 + 20 * torch.rand(self.shapes[0][-1], generator=rng))

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of the inputs."""
        case = self.case
        width = case.heads * (2 * case.size + case.value_size) - self.own
        tokens = (case.batch, case.keys, width)
        return (tokens,) if case.queries is None else (tokens, (case.batch, case.queries, self.own))

    def forward(self, x: torch.Tensor, query: torch.Tensor | None = None) -> torch.Tensor:
        """In and out in float32."""
        case, size = self.case, self.case.size
        tokens = quantize_channels(x, self.inverse, self.dtype)
        q = tokens if query is None else quantize(query, 40.0, self.middle, self.dtype)
        first = case.heads * size - self.own
        places = ([0, size, size], [first, size, size])
        values = [first + case.heads * size, case.value_size, case.value_size]
        limits = torch.iinfo(torch.uint8 if self.dtype == "uint8" else torch.int8)
        zero_point = None if case.zero_point is None else self.middle + case.zero_point
        low, high = (
            None if zero_point is None else float(end - zero_point) for end in (limits.min, limits.max)
        )
        constants = (self.bias, self.multiplier, self.value_multiplier)
        how = ("identity" if zero_point is None else "hardswish", 1.0, low, high, zero_point)
        y = qattention(q, tokens, tokens, *constants, case.heads, *places, values, *how)
        result: torch.Tensor = y if zero_point is None else dequantize(y, self.step, zero_point)
        return result


@pytest.mark.parametrize("target", TARGETS)
def test_the_bits_are_those_of_the_operator(target: str, tmp_path: Path, rng: torch.Generator) -> None:
    require_runner(target)
    dtype = resolve_target(target).quantized_dtype
    for number, case in enumerate(CASES):
        module = Attention(case, dtype, rng)
        sample = random_inputs(module.shapes, rng)
        # No pass knows integers.
        output = tmp_path / f"attention_{number}"
        package = compile_module(output, module, sample, target, passes="remove-identities").package
        inputs = random_inputs(module.shapes, rng)
        with torch.no_grad():
            want = module(*inputs).numpy()
        (got,) = results(package, *(value.numpy() for value in inputs))
        assert want.std() > 1
        assert np.array_equal(got, want), case
