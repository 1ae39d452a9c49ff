"""merge-parallel-linear: linear layers that read the same tensor and give the heads of attention become one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from lwc.graph import calls, constant, shape_of
from lwc.ops import LinearView, linear
from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import Program
from tests.programs import Shape, operators, program_of, reasons, rewrite

TOKENS = (2, 5, 6)
PASSES = "remove-identities,raise-operators,merge-parallel-linear"

Function = Callable[..., Any]
Parts = tuple[nn.Module, ...]


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int = 2) -> Any:
    """Attention of `heads` heads over tokens (B, N, C)."""
    q, k, v = (t.reshape(*t.shape[:2], heads, -1).transpose(1, 2) for t in (q, k, v))
    scores = q @ k.transpose(-1, -2) / 2 + 0.5
    return (scores.softmax(-1) @ v).permute(0, 2, 1, 3).flatten(2)


def plain(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """Queries, keys and values of the same tokens."""
    return attend(q(x), k(x), v(x))


def one_head(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """No head is taken apart."""
    return (q(x) @ k(x).transpose(1, 2)).softmax(-1) @ v(x)


def flat(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """The heads as a batch of matrices."""
    queries, keys, values = (
        part(x).reshape(2, 5, 2, -1).transpose(1, 2).reshape(4, 5, -1) for part in (q, k, v)
    )
    scores = torch.bmm(queries, keys.transpose(1, 2)).reshape(2, 2, 5, 5)
    return torch.bmm(scores.softmax(-1).reshape(4, 5, 5), values)


def keys_and_values(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """Fewer queries than keys, of other tokens."""
    return attend(q(x[:, ::2]), k(x), v(x))


def twice(*parts: Any) -> Any:
    """One attention after another."""
    q, k, v, q2, k2, v2, x = parts
    return plain(q2, k2, v2, plain(q, k, v, x))


def layers(*biases: bool, widths: tuple[int, ...] = (4, 4, 8)) -> Parts:
    """A layer of six inputs for each bias."""
    return tuple(nn.Linear(6, width, bias) for width, bias in zip(widths, biases, strict=True))


ALL, NONE = (True, True, True), (False, False, False)
# How often it merges, and how many layers are left.
MERGED: dict[str, tuple[Function, Parts, int, int]] = {
    "with biases": (plain, layers(*ALL), 1, 1),
    "without biases": (plain, layers(*NONE), 1, 1),
    "one bias": (plain, layers(False, True, False), 1, 1),
    "one bias missing": (plain, layers(True, False, True), 1, 1),
    "of one width": (plain, layers(*ALL, widths=(6, 6, 6)), 1, 1),
    "one head": (one_head, layers(*ALL), 1, 1),
    "heads as a batch": (flat, layers(*ALL), 1, 1),
    "keys and values": (keys_and_values, layers(*ALL), 1, 2),
    "one attention after another": (twice, layers(*ALL, widths=(4, 4, 6)) + layers(*ALL), 2, 2),
}


@pytest.mark.parametrize("name", MERGED)
def test_merges(name: str, rng: torch.Generator) -> None:
    function, parts, count, left = MERGED[name]
    after, record = rewrite(PASSES, program_of(function, TOKENS, rng=rng, parts=parts), rng)
    assert record.count == count
    assert len(linears(after)) == left


def linears(program: Program) -> list[fx.Node]:
    """The program's linear layers."""
    return list(calls(program.module.graph, torch.ops.lwc.linear.default))


def test_stacks_weights_and_biases_in_order_with_zeros_for_a_missing_one(rng: torch.Generator) -> None:
    q, k, v = (nn.Linear(6, 4), nn.Linear(6, 4, bias=False), nn.Linear(6, 8))
    after, _ = rewrite(PASSES, program_of(plain, TOKENS, rng=rng, parts=(q, k, v)), rng)
    (layer,) = linears(after)
    view = LinearView.of(layer)
    weight, bias = constant(after.module, view.weight), constant(after.module, view.bias)
    assert weight is not None
    assert bias is not None
    assert torch.equal(weight, torch.cat([q.weight, k.weight, v.weight]))
    assert torch.equal(bias, torch.cat([q.bias, torch.zeros(4), v.bias]))
    slices = [tuple(node.args[1:]) for node in calls(after.module.graph, torch.ops.aten.slice.Tensor)]
    assert slices == [(2, 0, 4), (2, 4, 8), (2, 8, 16)]


def test_without_biases_there_is_none(rng: torch.Generator) -> None:
    after, _ = rewrite(PASSES, program_of(plain, TOKENS, rng=rng, parts=layers(*NONE)), rng)
    (layer,) = linears(after)
    assert LinearView.of(layer).bias is None


def test_looks_through_reshapes_that_do_nothing(rng: torch.Generator) -> None:
    def function(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
        return attend(q(x), k(x.reshape(10, 6).reshape(2, 5, 6)), v(x.reshape(60).reshape(2, 5, 6)))

    after, record = rewrite(PASSES, program_of(function, TOKENS, rng=rng, parts=layers(*ALL)), rng)
    assert record.count == 1
    assert [shape_of(layer) for layer in linears(after)] == [(2, 5, 16)]


def test_a_reshape_to_other_tokens_is_another_tensor(rng: torch.Generator) -> None:
    def function(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
        return attend(q(x.reshape(5, 2, 6)), k(x.reshape(5, 2, 6)), v(x.reshape(5, 1, 12)).reshape(5, 2, -1))

    parts = (nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(12, 8))
    after, record = rewrite(PASSES, program_of(function, TOKENS, rng=rng, parts=parts), rng)
    assert record.count == 1
    assert len(linears(after)) == 2


def test_one_activation_on_all_stays(rng: torch.Generator) -> None:
    def function(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
        return attend(functional.relu6(q(x)), functional.relu6(k(x)), functional.relu6(v(x)))

    passes = "raise-operators,fuse-activation,merge-parallel-linear"
    after, record = rewrite(passes, program_of(function, TOKENS, rng=rng, parts=layers(*ALL)), rng)
    assert record.count == 1
    (layer,) = linears(after)
    assert (LinearView.of(layer).minimum, LinearView.of(layer).maximum) == (0.0, 6.0)


def test_a_second_run_finds_nothing(rng: torch.Generator) -> None:
    after, _ = rewrite("default", program_of(plain, TOKENS, rng=rng, parts=layers(*ALL)), rng)
    _, again = run_pipeline(Pipeline.parse("default"), after)
    assert [record.name for record in again if record.count] == []


def activated(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """Only the queries have an activation."""
    return attend(q(x).tanh(), k(x), v(x))


def clamped(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """The bounds of queries and keys differ."""
    return attend(q(x).clamp(-1, 1), k(x).clamp(-2, 1), v(x).clamp(-1, 1))


def added(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """The values are added to what they are made of."""
    return attend(q(x), k(x), x[..., :4].repeat(1, 1, 2) + v(x))


def given_weight(q: nn.Module, k: nn.Module, x: torch.Tensor, weight: torch.Tensor) -> Any:
    """The values' weight is an input."""
    return attend(q(x), k(x), linear(x, weight, None, None, "identity", None, None))


def given_bias(q: nn.Module, k: nn.Module, v: Any, x: torch.Tensor, bias: torch.Tensor) -> Any:
    """The values' bias is an input."""
    return attend(q(x), k(x), linear(x, v.weight, bias, None, "identity", None, None))


def read_elsewhere(
    q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys are a result, too."""
    keys = k(x)
    return attend(q(x), keys, v(x)), keys


def beside(q: nn.Module, k: nn.Module, v: nn.Module, other: nn.Module, x: torch.Tensor) -> Any:
    """A layer that has nothing to do with attention reads the same tokens."""
    return attend(q(x), k(x), v(x)), other(x)


def scaled(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """The queries are scaled on their way."""
    return attend(q(x) * x.mean(), k(x), v(x))


def no_softmax(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """Products, but no attention."""
    return (q(x) @ k(x).transpose(1, 2)).relu() @ v(x)


def bilinear(a: nn.Module, b: nn.Module, x: torch.Tensor) -> Any:
    """A product of layers."""
    return a(x) * b(x)


def tied(q: nn.Module, k: nn.Module, v: nn.Module, x: torch.Tensor) -> Any:
    """The keys' layer reads other tokens, too."""
    return attend(q(x), k(x), v(x)) + k(2 * x).mean()


ACTIVATIONS = "the layers' activations differ"
NOT_CONSTANT = "a layer's weight or its bias is not a constant"
COPY = "a layer's result is not the heads of attention: its slice would be a copy"
TWICE = "a layer's weight has another reader: it would be stored twice"
REFUSED: dict[str, tuple[Function, Parts, tuple[Shape, ...], str]] = {
    "one activation": (activated, layers(*ALL), (TOKENS,), ACTIVATIONS),
    "other bounds": (clamped, layers(*ALL), (TOKENS,), ACTIVATIONS),
    "a residual": (added, layers(*ALL), (TOKENS,), "a layer adds a residual"),
    "weight": (given_weight, layers(*ALL)[:2], (TOKENS, (8, 6)), NOT_CONSTANT),
    "bias": (given_bias, layers(*ALL), (TOKENS, (8,)), NOT_CONSTANT),
    "a result": (read_elsewhere, layers(*ALL), (TOKENS,), COPY),
    "a layer beside": (beside, (*layers(*ALL), nn.Linear(6, 5)), (TOKENS,), COPY),
    "scaled on the way": (scaled, layers(*ALL), (TOKENS,), COPY),
    "no softmax": (no_softmax, layers(*ALL), (TOKENS,), COPY),
    "no attention": (bilinear, layers(*ALL)[:2], (TOKENS,), COPY),
    "another call of a layer": (tied, layers(*ALL), (TOKENS,), TWICE),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, parts, shapes, reason = REFUSED[name]
    passes = "raise-operators,fuse-residual-add,fuse-activation,merge-parallel-linear"
    _, record = rewrite(passes, program_of(function, *shapes, rng=rng, parts=parts), rng)
    assert record.count == 0
    assert reasons(record) == [reason]


def test_refuses_a_weight_that_has_two_names(rng: torch.Generator) -> None:
    q, k, v, other = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 8), nn.Linear(6, 4)
    other.weight = q.weight

    def function(q: nn.Module, k: nn.Module, v: nn.Module, other: nn.Module, x: torch.Tensor) -> Any:
        return attend(q(x), k(x), v(x)) + other(2 * x).mean()

    _, record = rewrite(PASSES, program_of(function, TOKENS, rng=rng, parts=(q, k, v, other)), rng)
    assert (record.count, reasons(record)) == (0, [TWICE])


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16])
def test_refuses_results_of_another_type(dtype: torch.dtype, rng: torch.Generator) -> None:
    class Typed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("q", "k"):
                self.register_buffer(name, torch.ones(4, 6, dtype=dtype))

        def forward(self, x: torch.Tensor) -> Any:
            tokens = x.to(dtype)
            q, k = (linear(tokens, weight, None, None, "identity", None, None) for weight in (self.q, self.k))
            return (q @ k.transpose(1, 2)).softmax(-1, dtype=torch.float32)

    _, records = run_pipeline(Pipeline.parse(PASSES), program_of(Typed(), TOKENS, rng=rng))
    assert (records[-1].count, reasons(records[-1])) == (0, [f"the layers' result is {dtype}"])


NO_CANDIDATES: dict[str, tuple[Function, Parts, tuple[Shape, ...]]] = {
    "one layer": (lambda own, x: own(x), layers(*ALL)[:1], (TOKENS,)),
    "other tensors": (
        lambda q, k, v, x, y, z: attend(q(x), k(y), v(z)),
        layers(*ALL),
        (TOKENS, TOKENS, TOKENS),
    ),
    "convolutions": (
        lambda a, b, x: a(x) + b(x),
        (nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 1)),
        ((2, 4, 3, 3),),
    ),
}


@pytest.mark.parametrize("name", NO_CANDIDATES)
def test_leaves_alone(name: str, rng: torch.Generator) -> None:
    function, parts, shapes = NO_CANDIDATES[name]
    program = program_of(function, *shapes, rng=rng, parts=parts)
    after, record = rewrite(PASSES, program, rng)
    assert (record.count, record.refusals) == (0, ())
    assert "aten.slice.Tensor" not in operators(after)
