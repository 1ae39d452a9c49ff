"""The default pipeline on the supported families: pinned counts, so that a regression shows.

Images are small and MobileNets narrow, for time; the structure is the published one's.
"""

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
import torch

from lwc.graph import calls
from lwc.models.architecture import ARCHITECTURES, LogitsOnly, build
from lwc.models.random_weights import randomize
from lwc.models.synthetic import natural_images
from lwc.models.zoo import ZOO
from lwc.pipeline import PassRecord, Pipeline, run_pipeline
from lwc.targets import x86_64_v4
from lwc.trace import Program, trace
from tests.programs import in_float64, operators, rms, run

aten = torch.ops.aten
DEFAULT = Pipeline.parse("default")


@dataclass(frozen=True)
class Expected:
    """How often each pass rewrites (none where it is not named), what then computes, and the transposes left."""

    size: int
    counts: dict[str, int]
    computes: dict[str, int]
    refusals: dict[str, int] = field(default_factory=dict)
    # Where axes move: from a convolution to the result, patches, the heads of attention.
    to_result: int = 0
    patches: int = 0
    heads: int = 0


FAMILIES = {
    "mobilenet_v1": Expected(
        64,
        {
            "raise-operators": 28,
            "fold-padding": 27,
            "fold-batch-norm": 27,
            "fuse-activation": 27,
            "convert-layout": 27,
            "sink-transposes": 29,
            "select-depthwise-kernel": 13,
        },
        {"conv2d": 3, "separable_conv2d": 12, "mean": 1, "linear": 1},
    ),
    "mobilenet_v2": Expected(
        64,
        {
            "raise-operators": 53,
            "fold-padding": 52,
            "fold-batch-norm": 52,
            "fuse-activation": 35,
            "convert-layout": 52,
            "sink-transposes": 64,
            "fuse-residual-add": 10,
            "select-depthwise-kernel": 17,
        },
        {"conv2d": 18, "separable_conv2d": 17, "mean": 1, "linear": 1},
    ),
    "levit_128s": Expected(
        112,
        {
            "remove-identities": 83,
            "fold-constants": 11,
            "raise-operators": 52,
            "fold-batch-norm": 50,
            "fold-batch-norm-forward": 2,
            "merge-heads": 2,
            "fuse-activation": 25,
            "fuse-attention": 11,
            "fold-attention-scale": 11,
            "convert-layout": 4,
            "sink-transposes": 5,
            "fuse-residual-add": 20,
        },
        {"conv2d": 4, "linear": 47, "attention": 11, "slice": 4, "mean": 1},
        # Linear layers of which a residual is made, and their sum with it.
        {"a layer before it has another user": 4},
    ),
    "mobilevit_xx_small": Expected(
        128,
        {
            "remove-identities": 54,
            "raise-operators": 90,
            "fold-batch-norm": 32,
            "fuse-activation": 34,
            "merge-parallel-linear": 9,
            "fuse-attention": 9,
            "fold-attention-scale": 9,
            "convert-layout": 35,
            "sink-transposes": 39,
            "merge-transposes": 6,
            "fuse-residual-add": 21,
            "select-depthwise-kernel": 7,
        },
        {
            "conv2d": 21,
            "separable_conv2d": 7,
            "layer_norm": 21,
            "linear": 37,
            "attention": 9,
            "cat": 3,
            "mean": 1,
        },
        patches=6,
    ),
    "deeplabv3_mobilenet_v2": Expected(
        65,
        {
            "raise-operators": 55,
            "fold-padding": 55,
            "fold-batch-norm": 54,
            "fuse-activation": 37,
            "convert-layout": 55,
            "sink-transposes": 68,
            "fuse-residual-add": 10,
            "select-depthwise-kernel": 17,
        },
        {"conv2d": 29, "separable_conv2d": 13, "mean": 1, "expand": 1, "cat": 1},
        to_result=1,
    ),
    "deeplabv3_mobilevit_small": Expected(
        64,
        {
            "remove-identities": 55,
            "raise-operators": 95,
            "fold-batch-norm": 37,
            "fuse-activation": 39,
            "merge-parallel-linear": 9,
            "fuse-attention": 9,
            "fold-attention-scale": 9,
            "convert-layout": 41,
            "sink-transposes": 46,
            "merge-transposes": 6,
            "fuse-residual-add": 20,
            "select-depthwise-kernel": 7,
        },
        {
            "conv2d": 29,
            "separable_conv2d": 6,
            "layer_norm": 21,
            "linear": 36,
            "attention": 9,
            "cat": 4,
            "mean": 1,
            "expand": 1,
        },
        to_result=1,
        patches=6,
    ),
}
QUICK = ("mobilenet_v1",)
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]
# A ratio of errors over few numbers scatters: ten logits of one image give up to 2.2, of four images 1.5.
IMAGES = 4


def small(name: str, size: int, seed: int) -> Program:
    """The zoo's model with random weights for images of `size`."""
    known = ZOO[name]
    config = {**known.config, "image_size": size, "num_labels": 10}
    if known.has_width:
        config["depth_multiplier"] = 0.35
    heads = tuple(f"model.{head}" for head in ARCHITECTURES[known.architecture].heads)
    module = LogitsOnly(build(known.architecture, config, name))
    randomize(module, heads, size, seed)
    program = trace(module, (torch.zeros(1, 3, size, size),), ("image",))
    return replace(program, target=x86_64_v4.TARGET)


def computes(program: Program) -> Counter[str]:
    """How often the program calls each operator that does more than say how its operand lies in memory."""
    names = (name.removeprefix("lwc.").removeprefix("aten.").partition(".")[0] for name in operators(program))
    return Counter(name for name in names if name not in ("reshape", "permute"))


def transposes(program: Program) -> tuple[int, int, int]:
    """How many transposes there are: to the result's layout, of patches, of the heads of attention."""
    to_result = patches = heads = 0
    for node in calls(program.module.graph, aten.permute.default, aten.transpose.int):
        if {str(user.target) for user in node.users} == {"output"}:
            to_result += 1
        elif node.meta["val"].dim() > 4:
            patches += 1
        else:
            heads += 1
    return to_result, patches, heads


@pytest.mark.parametrize("name", NAMES)
def test_counts_transposes_and_numbers(name: str, seed: int, rng: torch.Generator) -> None:
    expected = FAMILIES[name]
    program = small(name, expected.size, seed)
    after, records = run_pipeline(DEFAULT, program)
    assert counts(records) == expected.counts
    assert Counter(refusal.reason for record in records for refusal in record.refusals) == expected.refusals
    assert computes(after) == expected.computes
    assert transposes(after) == (expected.to_result, expected.patches, expected.heads)
    assert_as_exact_as_pytorch(program, after, natural_images((IMAGES, *program.inputs[0].shape[1:]), rng))
    _, again = run_pipeline(DEFAULT, after)
    assert counts(again) == {}


def counts(records: tuple[PassRecord, ...]) -> dict[str, int]:
    """How often each pass rewrote, where it did."""
    total = Counter[str]()
    for record in records:
        total[record.name] += record.count
    return {name: count for name, count in total.items() if count}


def assert_as_exact_as_pytorch(before: Program, after: Program, images: torch.Tensor) -> None:
    """The rewritten program's distance from float64 is at most twice that of PyTorch's float32."""
    exact = in_float64(before)
    want, eager, got = (
        torch.cat([run(program, (image[None].to(program.inputs[0].dtype),))[0] for image in images])
        for program in (exact, before, after)
    )
    assert rms(want) > 0.1
    assert rms(got - want) <= 2 * rms(eager - want) + 1e-6
