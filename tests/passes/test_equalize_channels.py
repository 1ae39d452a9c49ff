"""equalize-channels: the channels between two layers get like ranges, and the program gives the same bits."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls, constant
from lwc.ops.view import named_arguments
from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import Program
from tests.programs import Shape, program_of, random_inputs, reasons, rewrite, run

LWC: Any = torch.ops.lwc
LAYERS = (LWC.conv2d.default, LWC.linear.default)
FIRST = "raise-operators,fuse-activation,convert-layout,sink-transposes,merge-transposes,fuse-residual-add"
PASSES = f"{FIRST},equalize-channels"
IMAGE, TOKENS = (1, 8, 7, 6), (1, 10, 8)
CHANNELS = 12


def scale_channels(writer: Any, reader: Any, rng: torch.Generator) -> None:
    """Ranges of the channels between two layers up to 2^6 apart; what the layers give together stays."""
    scales = torch.exp2(torch.randint(-3, 4, (len(writer.weight),), generator=rng).float())
    depthwise = reader.weight.shape[1] == 1
    with torch.no_grad():
        writer.weight.div_(scales.reshape(-1, *[1] * (writer.weight.dim() - 1)))
        if getattr(writer, "bias", None) is not None:
            writer.bias.div_(scales)
        shape = (-1, 1) if depthwise else (1, -1)
        reader.weight.mul_(scales.reshape(*shape, *[1] * (reader.weight.dim() - 2)))


def uneven(writer: nn.Module, between: Callable[[Any], Any], reader: nn.Module, shape: Shape) -> Any:
    """A maker of programs: reader(between(writer(x))), the channels between far apart."""

    def make(rng: torch.Generator) -> Program:
        def function(first: nn.Module, last: nn.Module, x: torch.Tensor) -> Any:
            return last(between(first(x)))

        program = program_of(function, shape, rng=rng, parts=(writer, reader))
        parts: Any = program.module.parts
        scale_channels(parts.get_submodule("0"), parts.get_submodule("1"), rng)
        return program

    return make


class Recorder(torch.fx.Interpreter):
    """Keeps the largest magnitude of each channel that a layer gives."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.module)
        self.found: list[torch.Tensor] = []

    def run_node(self, n: torch.fx.Node) -> Any:
        """The value of `n`."""
        value = super().run_node(n)
        if n.target in LAYERS:
            self.found.append(value.abs().flatten(0, -2).amax(0))
        return value


def imbalances(program: Program) -> list[float]:
    """How far r1 / r2 is apart, in octaves, between each layer and the next, over the channels that are not dead."""
    recorder = Recorder(program)
    with torch.no_grad():
        recorder.run(*program.inputs)
    layers = list(calls(program.module.graph, *LAYERS))
    found = []
    for r1, reader in zip(recorder.found, layers[1:], strict=False):
        weight = constant(program.module, named_arguments(reader)["weight"])
        assert weight is not None
        r2 = (weight if weight.shape[1] == 1 else weight.transpose(0, 1)).abs().flatten(1).amax(1)
        ratio = (r1 / r2)[r1 > 0].log2()
        found.append(float(ratio.max() - ratio.min()))
    return found


def wide(*arguments: Any, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(8, CHANNELS, *arguments, **options)


EQUALIZED: dict[str, tuple[Callable[[torch.Generator], Program], Shape]] = {
    "pointwise": (uneven(wide(1), functional.relu, nn.Conv2d(CHANNELS, 5, 1), IMAGE), IMAGE),
    "dense": (
        uneven(wide(3, padding=1), functional.relu, nn.Conv2d(CHANNELS, 5, 3, padding=1), IMAGE),
        IMAGE,
    ),
    "nothing between": (uneven(wide(1, bias=False), lambda y: y, nn.Conv2d(CHANNELS, 5, 1), IMAGE), IMAGE),
    "depthwise": (
        uneven(wide(1), functional.relu, nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS), IMAGE),
        IMAGE,
    ),
    "after groups": (uneven(wide(3, groups=4), functional.relu, nn.Conv2d(CHANNELS, 5, 1), IMAGE), IMAGE),
    "mean": (uneven(wide(1), lambda y: y.relu().mean((2, 3)), nn.Linear(CHANNELS, 5), IMAGE), IMAGE),
    "linear": (uneven(nn.Linear(8, CHANNELS), functional.relu, nn.Linear(CHANNELS, 5), TOKENS), TOKENS),
    "reshape": (
        uneven(nn.Linear(8, CHANNELS), lambda y: y.reshape(2, 5, CHANNELS), nn.Linear(CHANNELS, 5), TOKENS),
        TOKENS,
    ),
}


# s is the root of r1 / r2, rounded to an octave: r1 / r2 is then two octaves apart at most.
LEFT = 2.001


@pytest.mark.parametrize("name", EQUALIZED)
def test_equalizes(name: str, rng: torch.Generator) -> None:
    make, _ = EQUALIZED[name]
    program = make(rng)
    before, _ = run_pipeline(Pipeline.parse(FIRST), program)
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    assert imbalances(before)[0] > LEFT >= imbalances(after)[0]


def test_gives_the_same_bits(rng: torch.Generator) -> None:
    make, shape = EQUALIZED["mean"]
    before, _ = run_pipeline(Pipeline.parse(FIRST), make(rng))
    after, (record,) = run_pipeline(Pipeline.parse("equalize-channels"), before)
    assert record.count == 1
    sample = random_inputs((shape,), rng)
    torch.testing.assert_close(run(after, sample), run(before, sample), rtol=0, atol=0)


def test_a_chain_that_was_scaled_apart_is_put_right(rng: torch.Generator) -> None:
    """Each layer's rows and columns are far apart: the last pair has to be first."""
    layers = [nn.Linear(8, 8) for _ in range(4)]
    function: Any = lambda a, b, c, d, x: d(c(b(a(x).relu()).relu()).relu())  # noqa: E731
    program = program_of(function, TOKENS, rng=rng, parts=tuple(layers))
    parts: Any = program.module.parts
    made = [parts.get_submodule(name) for name in "0123"]
    for writer, reader in pairwise(made):
        scale_channels(writer, reader, rng)
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 3
    assert max(imbalances(after)) <= LEFT


def test_ranges_are_measured_on_the_samples(rng: torch.Generator) -> None:
    make, shape = EQUALIZED["linear"]
    program, _ = run_pipeline(Pipeline.parse(PASSES), make(rng))
    # Only the sample has anything in the first input channel.
    loud = torch.zeros(shape)
    loud[..., 0] = 1e4
    measured = replace(program, samples=((loud,),))
    _, (first,) = run_pipeline(Pipeline.parse("equalize-channels"), program)
    _, (second,) = run_pipeline(Pipeline.parse("equalize-channels"), measured)
    assert (first.count, second.count) == (0, 1)


def test_a_dead_channel_stays(rng: torch.Generator) -> None:
    def function(first: nn.Module, last: nn.Module, x: torch.Tensor) -> Any:
        return last(first(x).relu())

    program = program_of(function, TOKENS, rng=rng, parts=(nn.Linear(8, CHANNELS), nn.Linear(CHANNELS, 5)))
    parts: Any = program.module.parts
    first = parts.get_submodule("0")
    with torch.no_grad():
        # One that is always 0, one that is as good as 0.
        first.weight[:2] = 0
        first.bias[0], first.bias[1] = -1, 1e-30
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    weights = [
        after.module.get_buffer(str(node.args[1])) for node in calls(after.module.graph, LWC.linear.default)
    ]
    assert all(bool(torch.isfinite(weight).all()) for weight in weights)
    assert weights[1].abs().max() < 1e3


REFUSED: dict[str, tuple[Callable[[Any], Any], nn.Module, str]] = {
    "a bound above": (functional.relu6, nn.Conv2d(CHANNELS, 5, 1), "its clamp does not scale"),
    "another bound below": (lambda y: y.clamp_min(-1), nn.Conv2d(CHANNELS, 5, 1), "its clamp does not scale"),
    "a curve": (functional.silu, nn.Conv2d(CHANNELS, 5, 1), "its silu does not scale"),
    "groups": (
        functional.relu,
        nn.Conv2d(CHANNELS, 6, 1, groups=3),
        "the layer after it has groups of channels",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    between, reader, reason = REFUSED[name]

    def function(first: nn.Module, last: nn.Module, x: torch.Tensor) -> Any:
        return last(between(first(x)))

    _, record = rewrite(PASSES, program_of(function, IMAGE, rng=rng, parts=(wide(1), reader)), rng)
    assert reasons(record) == [reason]
    assert record.count == 0


PARTS = (nn.Linear(8, 8), nn.Linear(8, 8))
ELSEWHERE: dict[str, tuple[Callable[..., Any], str]] = {
    "the result is read, too": (
        lambda a, b, x: (b(y := a(x).relu()), y),
        "something else reads the channels",
    ),
    "the next layer adds it": (
        lambda a, b, x: (y := a(x).relu()) + b(y),
        "something else reads the channels",
    ),
    "a residual": (lambda a, b, x: b((a(x) + x).relu()), "a residual is added between"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_refuses_what_others_need(name: str, rng: torch.Generator) -> None:
    function, reason = ELSEWHERE[name]
    passes = f"{FIRST},fuse-activation,equalize-channels"
    _, record = rewrite(passes, program_of(function, TOKENS, rng=rng, parts=PARTS), rng)
    assert reason in reasons(record)
    assert record.count == 0


def test_refuses_ranges_that_are_alike(rng: torch.Generator) -> None:
    make, _ = EQUALIZED["pointwise"]
    once, first = rewrite(PASSES, make(rng), rng)
    _, (again,) = run_pipeline(Pipeline.parse("equalize-channels"), once)
    assert (first.count, again.count) == (1, 0)
    assert reasons(again) == ["the ranges of its channels are alike"]
