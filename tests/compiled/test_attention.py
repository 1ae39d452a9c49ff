"""The attention kernel alone: head sizes, batches, biases and large scores, on each kind of vector unit."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from lwc.ops import Heads, attention
from tests.compiled.support import agrees, require_runner

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """Sizes of one attention; queries, keys and values lie side by side in one token matrix for each head."""

    batch: int
    heads: int
    queries: int
    keys: int
    size: int
    value_size: int
    scale: float = 0.2
    bias: str = "constant"
    epilogue: tuple[str, float | None, float | None] = ("identity", None, None)


CASES = {
    "head size 16": Case(1, 4, 49, 49, 16, 32, epilogue=("hardswish", None, None)),
    "head size 32": Case(2, 2, 16, 49, 32, 64),
    "head size 36": Case(4, 2, 64, 64, 36, 36, bias="none"),
    "head size 48": Case(2, 1, 33, 17, 48, 48, bias="computed"),
    "head size 60": Case(3, 2, 4, 16, 60, 60, bias="none", epilogue=("silu", -0.1, 0.2)),
    "nothing whole": Case(2, 3, 37, 23, 5, 7),
    "one query": Case(1, 2, 1, 9, 6, 3),
    "one key": Case(2, 2, 5, 1, 8, 8),
    "more scores than a cache holds": Case(1, 1, 90, 1500, 8, 8, bias="none"),
    # Beyond the range of exp, were the maximum not taken off; larger ones only measure how scores are rounded.
    "large scores": Case(2, 2, 20, 30, 16, 16, scale=10.0),
}


class Attend(nn.Module):
    """lwc's attention as `case` says, on an input of queries and one of keys and values."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.bias = nn.Parameter(torch.zeros(case.heads, case.queries, case.keys))

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        case = self.case
        biases = {"none": None, "constant": self.bias, "computed": self.bias * query.mean()}
        both = case.size + case.value_size
        y: torch.Tensor = attention(
            query,
            memory,
            memory,
            biases[case.bias],
            case.heads,
            Heads(1, case.size + 1, case.size),
            Heads(0, both, case.size),
            Heads(case.size, both, case.value_size),
            case.scale,
            *case.epilogue,
        )
        return y


@pytest.mark.parametrize("target", ["native", "x86-64-v3", "arm64"])
@pytest.mark.parametrize("name", CASES)
def test_attention(name: str, target: str, tmp_path: Path, rng: torch.Generator) -> None:
    require_runner(target)
    case = CASES[name]
    shapes = (
        (case.batch, case.queries, 1 + case.heads * (case.size + 1)),
        (case.batch, case.keys, case.heads * (case.size + case.value_size)),
    )
    agrees(tmp_path, name.replace(" ", "_"), Attend(case), *shapes, rng=rng, target=target)
