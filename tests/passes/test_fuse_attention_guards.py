"""fuse-attention: what it leaves or refuses, and with which reason."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from lwc.pipeline import Pipeline, run_pipeline
from tests.passes.test_fuse_attention import HIDES_ALL, PASSES, TOKENS, Network, Tensor, attend
from tests.programs import operators, program_of, reasons, rewrite

OTHER_READER = "another operator reads its scores or its probabilities"
SHAPES = "its queries, keys and values differ in batch, heads or tokens"
RANK = "what it reads is not of batch, heads, tokens and channels"
MASK = "its mask may hide every key of a query"
REFUSED: dict[str, tuple[Callable[..., Tensor], str]] = {
    "a mask that is computed": (
        lambda q, k, v, b: functional.scaled_dot_product_attention(q, k, v, b * v.mean()),
        MASK,
    ),
    "a mask that hides all": (
        lambda q, k, v, b: functional.scaled_dot_product_attention(q, k, v, HIDES_ALL),
        MASK,
    ),
    "queries of one channel times a vector": (
        lambda q, k, v, b: ((q[..., :1] * torch.full((4,), 0.5)) @ k.mT).softmax(-1) @ v,
        "its queries are not regular slices of a token matrix",
    ),
    "scores are read": (lambda q, k, v, b: (s := q @ k.mT).softmax(-1) @ v + s.mean(), OTHER_READER),
    "scaled scores are read": (
        lambda q, k, v, b: (s := q @ k.mT * 2).softmax(-1) @ v + s.mean(),
        OTHER_READER,
    ),
    "biased scores are read": (
        lambda q, k, v, b: (s := q @ k.mT + b).softmax(-1) @ v + s.mean(),
        OTHER_READER,
    ),
    "probabilities are read": (lambda q, k, v, b: (p := (q @ k.mT).softmax(-1)) @ v + p.std(), OTHER_READER),
    "half precision": (
        lambda q, k, v, b: ((q.half() @ k.half().mT).softmax(-1) @ v.half()).to(q.dtype),
        "what it reads and gives is in torch.float16",
    ),
    "probabilities in another dtype": (
        lambda q, k, v, b: ((q.half() @ k.half().mT).softmax(-1, torch.float32) @ v.half().float()).to(
            q.dtype
        ),
        "what it reads and gives is in torch.float16 and torch.float32",
    ),
    "a mask of yes and no": (
        lambda q, k, v, b: functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), b > -9),
        "what it reads and gives is in torch.bool and torch.float32",
    ),
    "causal": (
        lambda q, k, v, b: functional.scaled_dot_product_attention(q, k, v, is_causal=True),
        "its mask is causal",
    ),
    "no axis of heads": (lambda q, k, v, b: attend(q[:, 0], k[:, 0], v[:, 0]), RANK),
    "heads and batch in one axis": (
        lambda q, k, v, b: torch.bmm(
            torch.bmm(q.reshape(6, 5, 4), k.reshape(6, 5, 4).mT).softmax(-1), v.reshape(6, 5, 4)
        ),
        RANK,
    ),
    "an axis too many": (lambda q, k, v, b: attend(q[None], k[None], v[None]), RANK),
    "softmax over the queries": (
        lambda q, k, v, b: (q @ k.mT).softmax(-2) @ v,
        "its softmax is not over the keys",
    ),
    "one head of keys for all": (lambda q, k, v, b: attend(q, k[:, :1], v), SHAPES),
    "one head of values for all": (lambda q, k, v, b: attend(q, k, v[:, :1]), SHAPES),
    "one image's keys for all": (lambda q, k, v, b: attend(q, k[:1], v), SHAPES),
    "a bias that repeats the query": (lambda q, k, v, b: (q[:, :, :1] @ k.mT + b).softmax(-1) @ v, SHAPES),
    "a bias that repeats the key": (lambda q, k, v, b: (q @ k[:, :, :1].mT + b).softmax(-1) @ v, SHAPES),
    "a bias of each image": (
        lambda q, k, v, b: (q @ k.mT + b * v.mean((1, 2, 3), keepdim=True)).softmax(-1) @ v,
        "its bias differs between the images of a batch",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, reason = REFUSED[name]
    program = program_of(Network(function), TOKENS, rng=rng)
    after, record = rewrite(PASSES, program, rng)
    assert reasons(record) == [reason]
    assert "lwc.attention.default" not in operators(after)


@pytest.mark.parametrize("part", ["queries", "keys", "values"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x.tanh(),
        lambda x: x.flip(2),
        lambda x: x.transpose(1, 2).reshape(2, 5, 4, 3).permute(0, 3, 1, 2),
        lambda x: x[..., ::2],
        lambda x: x[:, :1].expand(2, 3, 5, 4),
    ],
    ids=[
        "computed by head",
        "tokens reversed",
        "channels apart",
        "every second channel",
        "one head repeated",
    ],
)
def test_refuses_heads_that_are_no_slices(
    part: str, spoil: Callable[[Tensor], Tensor], rng: torch.Generator
) -> None:
    def function(q: Tensor, k: Tensor, v: Tensor, b: Tensor) -> Tensor:
        if spoil(q).shape[-1] < 4 and part != "values":
            q, k = (x if name == part else x[..., :2] for name, x in (("queries", q), ("keys", k)))
        q, k, v = (
            spoil(x) if name == part else x for name, x in (("queries", q), ("keys", k), ("values", v))
        )
        return attend(q, k, v)

    _, record = rewrite(PASSES, program_of(Network(function), TOKENS, rng=rng), rng)
    assert reasons(record) == [f"its {part} are not regular slices of a token matrix"]


def test_refuses_random_dropout(rng: torch.Generator) -> None:
    network = Network(lambda q, k, v, b: functional.scaled_dot_product_attention(q, k, v, dropout_p=0.5))
    _, records = run_pipeline(Pipeline.parse(PASSES), program_of(network, TOKENS, rng=rng))
    assert reasons(records[-1]) == ["it drops out at random"]


NO_CANDIDATES: dict[str, Callable[..., Tensor]] = {
    "softmax of what is no product": lambda q, k, v, b: (q * k).softmax(-1) @ v.mT,
    "softmax of an activation": lambda q, k, v, b: (q @ k.mT).relu().softmax(-1) @ v,
    "a product without softmax": lambda q, k, v, b: (q @ k.mT) @ v,
    "values before probabilities": lambda q, k, v, b: v.mT @ (q @ k.mT).softmax(-1),
    "scale after the bias": lambda q, k, v, b: ((q @ k.mT + b) * 0.4).softmax(-1) @ v,
    "scores times a tensor": lambda q, k, v, b: (q @ k.mT * v.mean()).softmax(-1) @ v,
    "a multiple of the bias": lambda q, k, v, b: torch.add(q @ k.mT, b, alpha=2).softmax(-1) @ v,
    "scores plus a number": lambda q, k, v, b: (q @ k.mT + 1).softmax(-1) @ v,
}


@pytest.mark.parametrize("name", NO_CANDIDATES)
def test_leaves_other_expressions(name: str, rng: torch.Generator) -> None:
    program = program_of(Network(NO_CANDIDATES[name]), TOKENS, rng=rng)
    _, record = rewrite(PASSES, program, rng)
    assert (record.count, record.refusals) == (0, ())
