"""select-depthwise-kernel: each depthwise convolution gets the kernel that costs least on the target."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.errors import UsageError
from lwc.graph import calls
from lwc.ops import ConvView, SeparableView
from lwc.pipeline import Pipeline
from lwc.targets import x86_64_v3, x86_64_v4
from lwc.targets.kernels import separable
from lwc.targets.kernels.depthwise import KERNELS
from lwc.trace import Program
from tests.programs import Shape, operators, program_of, reasons, rewrite

IMAGE = (2, 8, 9, 7)
LAYOUTS = "raise-operators,fuse-activation,convert-layout,sink-transposes"
PASSES = f"{LAYOUTS},select-depthwise-kernel"
CONV2D, SEPARABLE = torch.ops.lwc.conv2d.default, torch.ops.lwc.separable_conv2d.default


def with_target(function: Any, *shapes: Shape, rng: torch.Generator, parts: Any = ()) -> Program:
    """As `program_of`, for AVX-512."""
    return replace(program_of(function, *shapes, rng=rng, parts=parts), target=x86_64_v4.TARGET)


def forced(kernel: str) -> str:
    """The passes where each depthwise convolution gets `kernel`."""
    return f"{PASSES}{{kernel={kernel}}}"


def depthwise(channels: int = 8, **options: Any) -> nn.Conv2d:
    """A 3 x 3 depthwise convolution."""
    return nn.Conv2d(channels, channels, 3, groups=channels, **options)


def kernels(program: Program) -> list[str]:
    """What the program's convolutions have for a kernel."""
    return [ConvView.of(node).kernel for node in calls(program.module.graph, CONV2D)]


# What is chosen.


@pytest.mark.parametrize(
    ("channels", "size", "options", "kernel"),
    [
        (192, 28, {"padding": 1}, "direct"),
        (128, 28, {"padding": 1}, "rows"),
        (64, 28, {"padding": 1, "stride": 2}, "rows"),
    ],
)
def test_chooses_by_shape(
    channels: int, size: int, options: dict[str, int], kernel: str, rng: torch.Generator
) -> None:
    shape = (1, channels, size, size)
    after, record = rewrite(PASSES, with_target(depthwise(channels, **options), shape, rng=rng), rng)
    assert record.count == 1
    assert kernels(after) == [kernel]


def test_a_large_window_reads_a_copy_with_its_border(rng: torch.Generator) -> None:
    layer = nn.Conv2d(32, 32, 7, padding=3, groups=32)
    after, record = rewrite(PASSES, with_target(layer, (1, 32, 40, 40), rng=rng), rng)
    assert record.count == 1
    assert kernels(after) == ["padded"]


def test_joins_the_pointwise_convolution_where_what_is_between_leaves_the_cache(rng: torch.Generator) -> None:
    layers = nn.Sequential(depthwise(32, padding=1), nn.ReLU6(), nn.Conv2d(32, 64, 1), nn.SiLU())
    program = with_target(layers, (1, 32, 160, 160), rng=rng)
    after, record = rewrite(PASSES, program, rng)
    assert record.count == 1
    (node,) = calls(after.module.graph, SEPARABLE)
    view = SeparableView.of(node)
    assert (view.window_activation, view.window_minimum, view.window_maximum) == ("identity", 0.0, 6.0)
    assert (view.activation, view.minimum, view.maximum) == ("silu", None, None)
    assert kernels(after) == []


def test_the_choice_depends_on_the_target(rng: torch.Generator) -> None:
    program = program_of(depthwise(512, padding=1, stride=2), (1, 512, 14, 14), rng=rng)
    for target, kernel in ((x86_64_v4.TARGET, "direct"), (x86_64_v3.TARGET, "rows")):
        after, record = rewrite(PASSES, replace(program, target=target), rng)
        assert record.count == 1
        assert kernels(after) == [kernel]


def test_notes_the_choice_and_what_each_kernel_costs(rng: torch.Generator) -> None:
    program = with_target(depthwise(192, padding=1), (1, 192, 28, 28), rng=rng)
    _, record = rewrite(PASSES, program, rng)
    (note,) = record.notes
    assert note.node == record.rewritten[0]
    assert note.text.startswith("direct, of padded ")
    assert note.text.endswith(" thousand cycles by itself: no convolution reads its result")


def test_notes_what_the_costs_are_of(rng: torch.Generator) -> None:
    program = with_target(nn.Sequential(depthwise(), nn.Conv2d(8, 6, 1)), IMAGE, rng=rng)
    _, record = rewrite(PASSES, program, rng)
    (note,) = record.notes
    assert ", separable " in note.text
    assert note.text.endswith(" thousand cycles with the pointwise convolution")


# What can be forced.


@pytest.mark.parametrize("kernel", KERNELS)
def test_gives_each_the_kernel_that_is_asked_for(kernel: str, rng: torch.Generator) -> None:
    layers = nn.Sequential(depthwise(padding=1), nn.ReLU(), depthwise(stride=2), nn.Conv2d(8, 5, 1))
    after, record = rewrite(forced(kernel), with_target(layers, IMAGE, rng=rng), rng)
    assert record.count == 2
    assert kernels(after) == [kernel, kernel, "auto"]


SEPARABLE_LAYERS: dict[str, nn.Module] = {
    "plain": nn.Sequential(depthwise(), nn.Conv2d(8, 5, 1)),
    "without biases": nn.Sequential(depthwise(bias=False), nn.Conv2d(8, 5, 1, bias=False)),
    "strided and padded": nn.Sequential(
        nn.ZeroPad2d((0, 1, 2, 1)), depthwise(stride=(2, 1)), nn.Conv2d(8, 9, 1)
    ),
    "dilated": nn.Sequential(depthwise(dilation=(2, 3)), nn.Conv2d(8, 5, 1)),
    "with activations": nn.Sequential(depthwise(), nn.Hardswish(), nn.Conv2d(8, 5, 1), nn.Hardtanh()),
}


@pytest.mark.parametrize("name", SEPARABLE_LAYERS)
def test_joins(name: str, rng: torch.Generator) -> None:
    passes = forced(separable.NAME).replace("raise-operators", "raise-operators,fold-padding")
    after, record = rewrite(passes, with_target(SEPARABLE_LAYERS[name], IMAGE, rng=rng), rng)
    assert record.count == 1
    assert operators(after).count("lwc.separable_conv2d.default") == 1
    assert kernels(after) == []


def test_joins_a_pointwise_convolution_that_adds(rng: torch.Generator) -> None:
    parts = (nn.Conv2d(8, 8, 1), depthwise(padding=1), nn.Conv2d(8, 8, 1))
    program = with_target(
        lambda stem, own, point, x: (y := stem(x)) + point(own(y).relu()), IMAGE, rng=rng, parts=parts
    )
    passes = forced(separable.NAME).replace(",select", ",fuse-residual-add,select")
    after, record = rewrite(passes, program, rng)
    assert record.count == 1
    (node,) = calls(after.module.graph, SEPARABLE)
    (stem,) = calls(after.module.graph, CONV2D)
    assert SeparableView.of(node).residual is stem


def test_joins_none_where_each_layer_is_to_keep_its_kernel(rng: torch.Generator) -> None:
    parts = (depthwise(64, padding=1), nn.Conv2d(64, 128, 1))
    joined, apart = f"{PASSES}{{kernel={separable.NAME}}}", f"{PASSES}{{join=false}}"
    program = with_target(lambda d, p, x: p(d(x)), (1, 64, 112, 112), rng=rng, parts=parts)
    assert len(list(calls(rewrite(joined, program, rng)[0].module.graph, SEPARABLE))) == 1
    after, record = rewrite(apart, program, rng)
    assert not list(calls(after.module.graph, SEPARABLE))
    chosen, pointwise = kernels(after)
    assert chosen in KERNELS
    assert pointwise == "auto"
    assert "by itself: none is to be joined" in record.notes[0].text


def test_joins_one_pair_after_another(rng: torch.Generator) -> None:
    pair = (depthwise(padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
    layers = nn.Sequential(*pair, depthwise(padding=1), nn.Conv2d(8, 4, 1))
    after, record = rewrite(forced(separable.NAME), with_target(layers, IMAGE, rng=rng), rng)
    assert record.count == 2
    assert operators(after).count("lwc.separable_conv2d.default") == 2


def test_a_second_run_chooses_nothing(rng: torch.Generator) -> None:
    layers = nn.Sequential(depthwise(padding=1), nn.ReLU(), depthwise(stride=2), nn.Conv2d(8, 5, 1))
    after, _ = rewrite(PASSES, with_target(layers, IMAGE, rng=rng), rng)
    _, record = rewrite(PASSES, after, rng)
    assert (record.count, record.refusals) == (0, ())


def test_an_unknown_kernel_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="kernel 'quick' is unknown; choose from auto, padded, direct, rows"):
        Pipeline.parse(forced("quick"))


# What stays as it is.


def convolution(
    x: Any, own: nn.Conv2d, layouts: tuple[str, str], padding: int = 0, residual: Any = None
) -> Any:
    """lwc's convolution, which reads and writes as `layouts` say."""
    options = ([1, 1], [padding] * 4, [1, 1], own.groups, "identity", None, None)
    return torch.ops.lwc.conv2d(x, own.weight, own.bias, residual, *options, *layouts)


NHWC = ("NHWC", "NHWC")
ALONE = "it must be by itself: "
REFUSED: dict[str, tuple[Callable[..., Any], tuple[nn.Module, ...], str]] = {
    "writes NHWC only": (
        lambda own, x: convolution(x, own, ("NCHW", "NHWC")),
        (depthwise(),),
        "it does not read and write NHWC",
    ),
    "two results for each channel": (
        lambda own, x: own(x),
        (nn.Conv2d(8, 16, 3, groups=8),),
        "it has several results for each channel",
    ),
    "a second reader": (
        lambda own, point, x: point(y := own(x)) + y,
        (depthwise(), nn.Conv2d(8, 8, 1)),
        f"{ALONE}its result has several readers",
    ),
    "the result of the model": (
        lambda own, x: own(x),
        (depthwise(),),
        f"{ALONE}no convolution reads its result",
    ),
    "pooled": (
        lambda own, x: functional.max_pool2d(own(x), 2),
        (depthwise(),),
        f"{ALONE}no convolution reads its result",
    ),
    "a 3 x 3 convolution after it": (
        lambda own, other, x: other(own(x)),
        (depthwise(), nn.Conv2d(8, 4, 3)),
        f"{ALONE}the convolution after it is not pointwise",
    ),
    "a strided one after it": (
        lambda own, other, x: other(own(x)),
        (depthwise(), nn.Conv2d(8, 4, 1, stride=2)),
        f"{ALONE}the convolution after it is not pointwise",
    ),
    "a padded one after it": (
        lambda own, other, x: other(own(x)),
        (depthwise(), nn.Conv2d(8, 4, 1, padding=1)),
        f"{ALONE}the convolution after it is not pointwise",
    ),
    "a grouped one after it": (
        lambda own, other, x: other(own(x)),
        (depthwise(), nn.Conv2d(8, 4, 1, groups=4)),
        f"{ALONE}the convolution after it is not pointwise",
    ),
    "a tensor that it adds itself": (
        lambda own, point, x: convolution(
            convolution(y := x.permute(0, 2, 3, 1), own, NHWC, 1, residual=y), point, NHWC
        ),
        (depthwise(), nn.Conv2d(8, 4, 1)),
        f"{ALONE}it adds another tensor",
    ),
    "a pointwise one that only adds it": (
        lambda own, point, x: convolution(
            y := x.permute(0, 2, 3, 1), point, NHWC, residual=convolution(y, own, NHWC, 1)
        ),
        (depthwise(), nn.Conv2d(8, 8, 1)),
        f"{ALONE}the pointwise convolution adds its result",
    ),
    "a pointwise one that reads and adds it": (
        lambda own, point, x: convolution(
            y := convolution(x.permute(0, 2, 3, 1), own, NHWC, 1), point, NHWC, residual=y
        ),
        (depthwise(), nn.Conv2d(8, 8, 1)),
        f"{ALONE}the pointwise convolution adds its result",
    ),
    "a pointwise one that writes NCHW": (
        lambda own, other, x: convolution(
            convolution(x.permute(0, 2, 3, 1), own, NHWC), other, ("NHWC", "NCHW")
        ),
        (depthwise(), nn.Conv2d(8, 4, 1)),
        f"{ALONE}the pointwise convolution does not read and write NHWC",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, rng: torch.Generator) -> None:
    function, parts, reason = REFUSED[name]
    program = with_target(function, IMAGE, rng=rng, parts=parts)
    after, record = rewrite(forced(separable.NAME), program, rng)
    assert (record.count, reasons(record)) == (0, [reason])
    assert set(kernels(after)) == {"auto"}


def test_refuses_what_is_still_nchw(rng: torch.Generator) -> None:
    program = with_target(depthwise(), IMAGE, rng=rng)
    after, record = rewrite("raise-operators,select-depthwise-kernel", program, rng)
    assert (record.count, reasons(record)) == (0, ["it does not read and write NHWC"])
    assert kernels(after) == ["auto"]


def test_refuses_without_a_target(rng: torch.Generator) -> None:
    after, record = rewrite(PASSES, program_of(depthwise(), IMAGE, rng=rng), rng)
    assert (record.count, reasons(record)) == (0, ["the target is not known"])
    assert kernels(after) == ["auto"]


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(8, 6, 3), nn.Conv2d(8, 6, 1), nn.Conv2d(8, 8, 3, groups=4)], ids=str
)
def test_leaves_other_convolutions(layer: nn.Module, rng: torch.Generator) -> None:
    after, record = rewrite(PASSES, with_target(layer, IMAGE, rng=rng), rng)
    assert (record.count, record.refusals) == (0, ())
    assert kernels(after) == ["auto"]
