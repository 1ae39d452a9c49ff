"""fold-attention-scale: the scale of an attention joins the weights that give its queries, and no others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls, constant
from lwc.ops import AttentionView, Heads, LinearView, attention, linear
from lwc.trace import Program
from tests.programs import operators, program_of, reasons, rewrite

TOKENS = (2, 5, 8)
PASSES = "raise-operators,fuse-activation,fuse-attention,fold-attention-scale"
Tensor = torch.Tensor
WHOLE, NARROW = Heads(0, 4, 4), Heads(0, 2, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, where: tuple[Heads, Heads, Heads], **options: Any) -> Tensor:
    """Attention of two heads that lie `where`."""
    bias = options.get("bias")
    return attention(q, k, v, bias, 2, *where, options.get("scale", 0.3), "identity", None, None)


def scales(program: Program) -> list[float]:
    """The scale of each attention."""
    nodes = calls(program.module.graph, torch.ops.lwc.attention.default)
    return [AttentionView.of(node).scale for node in nodes]


@pytest.mark.parametrize("bias", [False, True])
def test_folds_into_the_layer_of_the_queries(bias: bool, rng: torch.Generator) -> None:
    layers = tuple(nn.Linear(8, 8, bias=bias) for _ in range(3))
    program = program_of(
        lambda a, b, c, x: attend(a(x), b(x), c(x), (WHOLE,) * 3), TOKENS, rng=rng, parts=layers
    )
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert scales(after) == [1.0]
    assert operators(after) == ["lwc.linear.default"] * 3 + ["lwc.attention.default"]


def test_folds_into_the_rows_of_the_queries_alone(rng: torch.Generator) -> None:
    layer = nn.Linear(8, 24)
    where = (Heads(0, 12, 4), Heads(4, 12, 4), Heads(8, 12, 4))
    program = program_of(lambda own, x: attend(*[own(x)] * 3, where), TOKENS, rng=rng, parts=(layer,))
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    (node,) = calls(after.module.graph, torch.ops.lwc.linear.default)
    weight = constant(after.module, LinearView.of(node).weight)
    assert weight is not None
    changed = (weight != layer.weight).any(1)
    assert changed.nonzero().flatten().tolist() == [0, 1, 2, 3, 12, 13, 14, 15]


def test_folds_after_the_parts_are_fused(rng: torch.Generator) -> None:
    def function(own: nn.Module, x: Tensor) -> Tensor:
        q, k, v = own(x).view(10, 24).view(2, 5, 2, 12).transpose(1, 2).split([2, 2, 8], 3)
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    after, record = rewrite(PASSES, program_of(function, TOKENS, rng=rng, parts=(nn.Linear(8, 24),)), rng)
    assert record.count == 1
    assert scales(after) == [1.0]


def test_another_layer_with_the_same_weights_keeps_them(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: attend(own(x), own(x.flip(1)), x, (WHOLE,) * 3),
        TOKENS,
        rng=rng,
        parts=(nn.Linear(8, 8),),
    )
    _, record = rewrite(PASSES, program, rng)
    assert record.count == 1


def test_leaves_an_attention_that_does_not_scale(rng: torch.Generator) -> None:
    program = program_of(
        lambda own, x: attend(own(x), x, x, (WHOLE,) * 3, scale=1.0),
        TOKENS,
        rng=rng,
        parts=(nn.Linear(8, 8),),
    )
    _, record = rewrite(PASSES, program, rng)
    assert (record.count, record.refusals) == (0, ())


NO_LAYER = "its queries are not the result of a linear layer"
OTHER_READER = "another operator reads the linear layer before it"
ACTIVATION = "an activation stands between"
NOT_CONSTANT = "the weight or the bias before it is not a constant"
SHARED = "its keys, values or bias are its queries"
LAYERS = (NARROW, NARROW, Heads(4, 2, 2))
REFUSED: dict[str, tuple[Callable[..., Tensor], str]] = {
    "an input": (lambda own, x: attend(x, own(x), x, (WHOLE,) * 3), NO_LAYER),
    "an activation that stands alone": (
        lambda own, x: attend(functional.elu(own(x)), x, x, (WHOLE,) * 3),
        NO_LAYER,
    ),
    "the layer is read": (lambda own, x: attend(y := own(x), x, x, (WHOLE,) * 3) + y, OTHER_READER),
    "two attentions of one layer": (
        lambda own, x: attend(y := own(x), x, x, (WHOLE,) * 3) + attend(x, y, y, (WHOLE,) * 3, scale=1.0),
        OTHER_READER,
    ),
    "a curve": (lambda own, x: attend(functional.silu(own(x)), x, x, (WHOLE,) * 3), ACTIVATION),
    "a clamp": (lambda own, x: attend(own(x).relu(), x, x, (WHOLE,) * 3), ACTIVATION),
    "a weight that is computed": (
        lambda own, x: attend(linear(x, x[0, :].T @ x[0], None, "identity", None, None), x, x, (WHOLE,) * 3),
        NOT_CONSTANT,
    ),
    "a bias that is computed": (
        lambda own, x: attend(linear(x, own.weight, x[0, 0], "identity", None, None), x, x, (WHOLE,) * 3),
        NOT_CONSTANT,
    ),
    "other tokens": (
        lambda own, x: attend(own(x).view(2, 10, 4), x, x, LAYERS),
        "its queries mix tokens of the linear layer before it",
    ),
    "keys are the queries": (lambda own, x: attend(y := own(x), y, x, (WHOLE,) * 3), SHARED),
    "values overlap the queries": (
        lambda own, x: attend(y := own(x), x, y, (NARROW, NARROW, Heads(3, 2, 2))),
        SHARED,
    ),
    "the bias is the queries": (
        lambda own, x: attend(
            y := own(x), x.tile(1, 2, 1)[:, :8], x.tile(1, 2, 1)[:, :8], (WHOLE,) * 3, bias=y
        ),
        SHARED,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, reason = REFUSED[name]
    program = program_of(function, TOKENS, rng=rng, parts=(nn.Linear(8, 8),))
    after, record = rewrite(PASSES, program, rng)
    assert reasons(record) == [reason]
    assert 0.3 in scales(after)
