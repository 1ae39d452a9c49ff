"""select-depthwise-kernel on a GPU: one kernel for two convolutions where that costs less, and else why not."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from lwc.graph import calls
from lwc.ops import ConvView, SeparableView
from lwc.targets.cuda import cuda_target
from lwc.targets.kernels import separable
from lwc.targets.kernels.depthwise import KERNELS
from lwc.trace import Program
from tests.programs import Shape, program_of, reasons, rewrite

LAYOUTS = "raise-operators,fuse-activation,convert-layout,sink-transposes,fuse-residual-add"
PASSES = f"{LAYOUTS},select-depthwise-kernel"
CONV2D, SEPARABLE = torch.ops.lwc.conv2d.default, torch.ops.lwc.separable_conv2d.default


def for_gpu(module: Any, shape: Shape, rng: torch.Generator, parts: Any = ()) -> Program:
    """As `program_of`, for an A100."""
    return replace(program_of(module, shape, rng=rng, parts=parts), target=cuda_target("sm_80"))


def pair(channels: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """A depthwise convolution that keeps an image's size, or half of it, and a pointwise one."""
    own = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)
    return nn.Sequential(own, nn.ReLU6(), nn.Conv2d(channels, outputs, 1))


def joined(program: Program) -> int:
    """How many kernels compute two convolutions."""
    return len(list(calls(program.module.graph, SEPARABLE)))


@pytest.mark.parametrize(
    ("channels", "outputs", "size", "stride"),
    [(32, 64, 112, 1), (32, 16, 112, 1), (96, 24, 112, 2), (144, 24, 56, 1), (192, 32, 28, 1)],
)
def test_joins_where_few_blocks_compute_the_same(
    channels: int, outputs: int, size: int, stride: int, rng: torch.Generator
) -> None:
    program = for_gpu(pair(channels, outputs, stride), (1, channels, size, size), rng)
    after, record = rewrite(PASSES, program, rng)
    assert (record.count, joined(after)) == (1, 1)
    (note,) = record.notes
    assert note.text.startswith("separable, of apart ")
    assert note.text.endswith(" thousand cycles with the pointwise convolution")


@pytest.mark.parametrize(("channels", "outputs", "size"), [(512, 512, 14), (1024, 1024, 7), (960, 320, 7)])
def test_leaves_apart_what_many_blocks_would_compute_again(
    channels: int, outputs: int, size: int, rng: torch.Generator
) -> None:
    program = for_gpu(pair(channels, outputs), (1, channels, size, size), rng)
    after, record = rewrite(PASSES, program, rng)
    assert (record.count, joined(after)) == (0, 0)
    (reason,) = reasons(record)
    assert reason.startswith("one kernel with the pointwise convolution costs more: apart ")


def test_joins_a_pointwise_convolution_that_adds(rng: torch.Generator) -> None:
    parts = (nn.Conv2d(32, 32, 1), nn.Conv2d(32, 192, 1), pair(192, 32))
    program = for_gpu(
        lambda stem, expand, both, x: (y := stem(x)) + both(expand(y)), (1, 32, 28, 28), rng, parts
    )
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    (node,) = calls(after.module.graph, SEPARABLE)
    assert SeparableView.of(node).residual is not None


@pytest.mark.parametrize("kernel", KERNELS)
def test_refuses_the_kernels_of_processors(kernel: str, rng: torch.Generator) -> None:
    program = for_gpu(pair(32, 64), (1, 32, 112, 112), rng)
    after, record = rewrite(f"{PASSES}{{kernel={kernel}}}", program, rng)
    assert (record.count, reasons(record)) == (0, [f"the kernel {kernel!r} is for processors"])
    assert [ConvView.of(node).kernel for node in calls(after.module.graph, CONV2D)] == ["auto", "auto"]


def test_can_be_forced_to_join(rng: torch.Generator) -> None:
    program = for_gpu(pair(512, 512), (1, 512, 14, 14), rng)
    after, record = rewrite(f"{PASSES}{{kernel={separable.NAME}}}", program, rng)
    assert (record.count, joined(after)) == (1, 1)


@pytest.mark.parametrize("kernel", ["auto", separable.NAME])
def test_refuses_large_windows(kernel: str, rng: torch.Generator) -> None:
    program = for_gpu(pair(32, 64, kernel=7), (1, 32, 112, 112), rng)
    _, record = rewrite(f"{PASSES}{{kernel={kernel}}}", program, rng)
    reason = "a window of more than 25 pixels takes too many registers in one kernel"
    assert (record.count, reasons(record)) == (0, [reason])


def test_says_why_a_layer_is_by_itself(rng: torch.Generator) -> None:
    alone, last = pair(32, 64), nn.Conv2d(32, 32, 3, padding=1, groups=32)
    _, record = rewrite(f"{PASSES}{{join=false}}", for_gpu(alone, (1, 32, 112, 112), rng), rng)
    assert (record.count, reasons(record)) == (0, ["it must be by itself: none is to be joined"])
    _, record = rewrite(PASSES, for_gpu(last, (1, 32, 112, 112), rng), rng)
    assert (record.count, reasons(record)) == (0, ["it must be by itself: no convolution reads its result"])
