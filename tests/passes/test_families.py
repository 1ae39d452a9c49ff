"""The default pipeline on the supported families: pinned counts, so that a regression shows.

Images are small and MobileNets narrow, for time; the structure is the published one's.
"""

from collections import Counter
from dataclasses import dataclass

import pytest
import torch

from lwc.graph import calls
from lwc.models.architecture import ARCHITECTURES, LogitsOnly, build
from lwc.models.random_weights import randomize
from lwc.models.synthetic import natural_images
from lwc.models.zoo import ZOO
from lwc.pipeline import PassRecord, Pipeline, run_pipeline
from lwc.trace import Program, trace
from tests.programs import in_float64, rms, run

aten = torch.ops.aten
DEFAULT = Pipeline.parse("default")


@dataclass(frozen=True)
class Expected:
    """How often each pass rewrites (none where it is not named), and the transposes that remain."""

    size: int
    counts: dict[str, int]
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
        },
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
        },
    ),
    "levit_128s": Expected(
        112,
        {
            "remove-identities": 13,
            "fold-constants": 11,
            "raise-operators": 52,
            "fold-batch-norm": 50,
            "fold-batch-norm-forward": 2,
            "merge-heads": 2,
            "fuse-attention": 11,
            "fold-attention-scale": 11,
            "fuse-activation": 25,
            "convert-layout": 4,
            "sink-transposes": 5,
        },
    ),
    "mobilevit_xx_small": Expected(
        128,
        {
            "remove-identities": 45,
            "raise-operators": 90,
            "fold-batch-norm": 32,
            "fuse-attention": 9,
            "fold-attention-scale": 9,
            "fuse-activation": 34,
            "convert-layout": 35,
            "sink-transposes": 39,
            "merge-transposes": 6,
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
        },
        to_result=1,
    ),
    "deeplabv3_mobilevit_small": Expected(
        64,
        {
            "remove-identities": 46,
            "raise-operators": 95,
            "fold-batch-norm": 37,
            "fuse-attention": 9,
            "fold-attention-scale": 9,
            "fuse-activation": 39,
            "convert-layout": 41,
            "sink-transposes": 46,
            "merge-transposes": 6,
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
    return trace(module, (torch.zeros(1, 3, size, size),), ("image",))


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
    assert [refusal for record in records for refusal in record.refusals] == []
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
