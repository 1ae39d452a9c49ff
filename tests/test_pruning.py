"""Pruning by magnitude among the passes: what is the reference before it and after it, and what it counts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import fx, nn

from lwc.errors import BadInputError, UsageError, VerificationError
from lwc.graph import constant
from lwc.models.request import LoadedModel
from lwc.ops import ConvView
from lwc.package.pruning import LayerCounts
from lwc.pipeline import Pass, Pipeline
from lwc.pruning import Pruned, verify_original
from lwc.rewriting import PassOptions, Rewritten, rewrite
from lwc.trace import trace
from tests.programs import random_inputs, randomize, rms, run

IMAGE = (1, 3, 12, 10)


@pytest.fixture
def model(rng: torch.Generator) -> LoadedModel:
    """A classifier of pointwise, depthwise and pointwise convolutions with batch norms, and a linear layer."""
    module = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU6()),
        *(nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False), nn.BatchNorm2d(32), nn.ReLU6()),
        *(nn.Conv2d(32, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU6()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )
    randomize(module, rng)
    return LoadedModel(
        name="net",
        source="net",
        module=module.eval(),
        inputs=random_inputs((IMAGE,), rng),
        input_names=("image",),
        output_names=("logits",),
        input_layouts=("NCHW",),
        output_layouts=("N,classes",),
        preprocessing=None,
        labels=None,
        weights="random",
    )


def rewritten(model: LoadedModel, **options: Any) -> Rewritten:
    """The model after the passes, half of its channels pruned unless `options` say otherwise."""
    asked = PassOptions(**{"prune": 0.5, **options})
    return rewrite(asked, asked.pipeline(), trace(model.module, model.inputs, model.input_names))


def pruned(result: Rewritten) -> Pruned:
    """What was pruned, which has to be something."""
    assert result.pruned is not None
    return result.pruned


def test_zeroing_stands_before_the_removal() -> None:
    names = [item.name for item in PassOptions(prune=0.25).pipeline().passes]
    at = names.index("prune-channels")
    assert names[at - 1] == "zero-channels"
    assert str(PassOptions(prune=0.25).pipeline().passes[at - 1]) == "zero-channels{fraction=0.25}"
    assert names[: at - 1] + names[at:] == [item.name for item in PassOptions().pipeline().passes]


def test_the_options_round_trip() -> None:
    assert PassOptions(prune=0.25).arguments() == "--prune 0.25"


def test_a_limit_is_refused() -> None:
    with pytest.raises(UsageError, match="--prune: a pass limit would leave channels half removed"):
        PassOptions(prune=0.25, limit=3)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0, float("nan"), float("inf")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match=r"prune .*: out of range; give a number above 0 and below 1"):
        PassOptions(prune=fraction)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("default,-prune-channels", "--prune: needs the pass 'prune-channels'"),
        ("default,zero-channels", "--prune: the passes have 'zero-channels' already"),
    ],
)
def test_passes_that_pruning_cannot_join_are_refused(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        PassOptions(spec, prune=0.5).pipeline()


def test_channels_are_zeroed_once(model: LoadedModel) -> None:
    twice = ("zero-channels,before=prune-channels", "zero-channels,before=prune-channels")
    with pytest.raises(UsageError, match=r"pass 'zero-channels': stands twice"):
        rewritten(model, prune=None, extra=twice)


def test_what_is_compiled_gives_what_the_reference_gives(model: LoadedModel) -> None:
    result = rewritten(model)
    first = pruned(result)
    (before,), (zeroed,), (after,) = (
        run(program, model.inputs) for program in (first.original, first.reference, result.program)
    )
    with torch.no_grad():
        want = model.module(*model.inputs)
    assert rms(before - want) <= 1e-6 * rms(want)
    assert rms(zeroed - want) > 1e-5 * rms(want)
    assert rms(after - zeroed) <= 1e-6 * rms(zeroed)


def test_the_counts_are_those_of_the_layers(model: LoadedModel) -> None:
    pruning = pruned(rewritten(model)).pruning
    assert pruning.fraction == 0.5
    # The depthwise convolution has the channels of the one before it.
    assert pruning.before == counts(32, 64)
    assert pruning.after == counts(16, 32)


def counts(first: int, second: int) -> LayerCounts:
    """Of a network like the model with so many channels in its two groups."""
    pixels = 10 * 8
    weights = (27 * first, 9 * first, first * second)
    return LayerCounts(
        channels=first + second + 10,
        parameters=sum(weights) + 2 * first + second + 10 * second + 10,
        macs=pixels * sum(weights) + 10 * second,
    )


def test_without_a_fraction_nothing_is_pruned(model: LoadedModel) -> None:
    assert rewritten(model, prune=None).pruned is None


def test_what_is_not_removed_is_not_counted_as_removed(model: LoadedModel) -> None:
    spec = "default,-prune-channels"
    pruning = pruned(
        rewritten(model, spec=spec, prune=None, extra=("zero-channels,before=convert-layout",))
    ).pruning
    assert pruning.after == pruning.before


# Defects before pruning and after it.

Edit = Callable[[torch.Tensor], None]


@dataclass(frozen=True)
class Defect(Pass[ConvView]):
    """Changes the weights of every dense convolution: in place, where it can be seen from elsewhere."""

    name: ClassVar[str] = "defect"

    def match(self, program: Any, node: fx.Node) -> ConvView | None:
        """A convolution of lwc's."""
        dense = node.target is torch.ops.lwc.conv2d.default and ConvView.of(node).groups == 1
        return ConvView.of(node) if dense else None

    def rewrite(self, program: Any, match: ConvView) -> None:
        """The weights become larger by a thousandth."""
        weight = constant(program.module, match.weight)
        assert weight is not None
        weight.mul_(1.001)


def with_defect(place: str) -> Pipeline:
    """The default pipeline, wrong before or after prune-channels."""
    pipeline = PassOptions().pipeline()
    if place == "before":
        return pipeline.insert_before("prune-channels", Defect())
    return pipeline.insert_after("prune-channels", Defect())


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_wrong_pass_is_caught_before_pruning_and_after_it(place: str, model: LoadedModel) -> None:
    with pytest.raises(VerificationError, match=r"pass 'defect'.*changes the result by"):
        rewritten(model, spec=with_defect(place))


def test_the_program_before_pruning_is_held_against_the_model(model: LoadedModel) -> None:
    verify_original(model, pruned(rewritten(model)))
    wrong = pruned(rewritten(model, spec=with_defect("before"), verify=False))
    with pytest.raises(VerificationError, match=r"net before pruning: output 'logits' differs from PyTorch"):
        verify_original(model, wrong)


def test_a_later_pass_cannot_change_the_reference(model: LoadedModel) -> None:
    right = pruned(rewritten(model)).reference
    result = rewritten(model, spec=with_defect("after"), verify=False)
    assert torch.equal(
        run(pruned(result).reference, model.inputs)[0],
        run(right, model.inputs)[0],
    )
    assert not torch.equal(run(result.program, model.inputs)[0], run(right, model.inputs)[0])


def test_a_pass_from_outside_may_not_redefine(model: LoadedModel) -> None:
    @dataclass(frozen=True)
    class Redefining(Defect):
        redefines: ClassVar[bool] = True

    with pytest.raises(BadInputError, match=r"its 'redefines' is set"):
        PassOptions().pipeline().insert_after("prune-channels", Redefining())
