"""Softmax attention on a GPU: any number of tokens, heads of any size, wherever they lie, with and without a bias."""

import re
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

import lwc.ops  # noqa: F401  registers the operators
from lwc.errors import UnsupportedError
from lwc.lower.cuda_source import cuda_source
from lwc.targets.kernels.attention import Heads
from lwc.targets.kernels.cuda import attention, attention_schedule
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.target import Target
from tests.targets.cuda.emulation import GPU, Layer, check_layers, require_right, scheduled
from tests.targets.cuda.layers import SEED, numbers, stored

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Tokens:
    """`heads` of `queries` tokens that look at `keys` others; what q and k, and v, have of channels."""

    heads: int
    queries: int
    keys: int
    size: int
    value_size: int
    batch: int = 1
    biased: bool = True
    epilogue: Epilogue = field(default=Epilogue())
    scale: float = 0.0  # 0: the usual one

    def kernel(self, target: Target = GPU) -> attention.Attention:
        return attention.plan(
            *(self.batch, self.heads, self.queries, self.keys, *self._places()),
            self.scale or self.size**-0.5,
            self.biased,
            self.epilogue,
            target,
        )

    def _places(self) -> tuple[Heads, Heads, Heads]:
        """Queries alone; keys and values of a head side by side, after a channel that is no head's."""
        stride = self.size + self.value_size
        return (
            Heads(0, self.size, self.size),
            Heads(1, stride, self.size),
            Heads(1 + self.size, stride, self.value_size),
        )

    def layer(self, rng: np.random.Generator, target: Target = GPU) -> Layer:
        kernel = self.kernel(target)
        query = numbers(rng, self.batch, self.queries, self.heads * self.size)
        both = numbers(rng, self.batch, self.keys, 1 + self.heads * (self.size + self.value_size))
        query, both, bias = stored(target, query, both, numbers(rng, self.heads, self.queries, self.keys))
        packed = attention.pack(kernel, bias) if self.biased else None
        operands = (query, both, both, packed)
        tensors = (query, both, bias) if self.biased else (query, both)
        return Layer(
            scheduled(kernel, attention, *operands, schedule=attention_schedule.schedule),
            operands,
            self._eager,
            tensors,
        )

    def _eager(
        self, query: torch.Tensor, both: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        places = [[heads.offset, heads.stride, heads.size] for heads in self._places()]
        y: torch.Tensor = torch.ops.lwc.attention(
            *(query, both, both, bias, self.heads, *places, self.scale or self.size**-0.5),
            *(self.epilogue.activation, self.epilogue.minimum, self.epilogue.maximum),
        )
        return y.reshape(*y.shape[:-1], self.heads, self.value_size)


CASES: dict[str, Tokens] = {
    "levit_first": Tokens(4, 196, 196, 16, 32, epilogue=Epilogue("hardswish")),
    "levit_down": Tokens(8, 49, 196, 16, 64, epilogue=Epilogue("hardswish")),
    "levit_last": Tokens(12, 16, 16, 16, 32),
    "mobilevit_first": Tokens(4, 256, 256, 36, 36, batch=4, biased=False),
    "mobilevit_second": Tokens(4, 64, 64, 48, 48, batch=4, biased=False),
    "mobilevit_last": Tokens(4, 16, 16, 60, 60, batch=4, biased=False),
    "vit": Tokens(3, 197, 197, 64, 64, biased=False),
    "odd": Tokens(3, 17, 33, 5, 7, batch=2),
    "one_token": Tokens(2, 1, 1, 3, 3),
    "one_query": Tokens(2, 1, 65, 24, 17),
    "one_key": Tokens(1, 13, 1, 8, 40),
    "many_keys": Tokens(1, 5, 1000, 16, 16),
    "more_keys": Tokens(1, 3, 4001, 16, 16),
    "most_keys": Tokens(1, 3, 9001, 8, 8, biased=False),
    "wide": Tokens(1, 40, 20, 130, 260),
    "large_scores": Tokens(2, 20, 40, 16, 16, scale=30.0),
}


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exception | None]:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    layers = {name: case.layer(rng) for name, case in CASES.items()}
    return check_layers(layers, tmp_path_factory.mktemp("attention"))


@pytest.mark.parametrize("name", CASES)
def test_attention(differences: dict[str, Exception | None], name: str) -> None:
    require_right(differences, name)


@pytest.mark.parametrize("name", CASES)
def test_shared_memory_is_what_was_planned(name: str) -> None:
    """Also that a weight takes the place of its score: there would be half as many queries a block otherwise."""
    case = CASES[name]
    function = case.layer(np.random.default_rng(SEED)).function
    source, _ = cuda_source({"attention": function}, GPU)
    declared = re.findall(r"__shared__ alignas\(\d+\) float \w+\[(\d+)\]", source)
    assert 4 * sum(map(int, declared)) <= case.kernel().shared_bytes + 4 * 64
    assert GPU.gpu is not None
    assert case.kernel().shared_bytes <= GPU.gpu.shared_bytes


def test_more_keys_than_shared_memory_holds_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"attention over 12000 keys: \d+ bytes of shared memory"):
        Tokens(1, 12000, 12000, 16, 16).kernel()


def test_multiply_accumulates_of_both_products_are_counted() -> None:
    assert Tokens(3, 17, 33, 5, 7, batch=2).kernel().macs == 2 * 3 * 17 * 33 * (5 + 7)
