"""Small networks whose layers are all that is tuned, in float32 and on integers, of shapes that no tile divides."""

from typing import Any

import torch
from torch import nn

from lwc.package.toolchain import find_toolchain
from lwc.pipeline import Pipeline, run_pipeline
from lwc.targets.resolve import resolve_target
from lwc.targets.target import Target
from lwc.tune.device import LocalDevice
from lwc.tune.devices import Devices
from lwc.tune.tasks import Task, tasks_of
from tests.compiled.quantized_layers import All, Draw, Place, dense, depthwise, linear, places, pointwise
from tests.programs import program_of
from tests.tune.made import no_warning

TARGET = resolve_target("native")
TOOLCHAIN = find_toolchain(TARGET)
LOCAL = Devices([LocalDevice()], no_warning)


def float_net(channels: int) -> nn.Module:
    """A stem, a depthwise and a pointwise convolution that join, one that does not, Winograd's, grouped and linear."""

    def conv(inputs: int, outputs: int, kernel: int, **options: Any) -> nn.Module:
        same = kernel // 2
        return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=same, **options), nn.ReLU6())

    return nn.Sequential(
        conv(3, channels, 3, stride=2),
        conv(channels, channels, 3, groups=channels),
        conv(channels, 2 * channels, 1),
        conv(2 * channels, 2 * channels, 5, groups=2 * channels),
        nn.Conv2d(2 * channels, channels, 3, padding=1),
        conv(channels, 2 * channels, 3, stride=2, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * channels, 37),
    )


def float_tasks(channels: int, size: int, rng: torch.Generator, target: Target = TARGET) -> list[Task]:
    """The tasks of such a network for images of `size` x `size`."""
    program = program_of(float_net(channels), (1, 3, size, size), rng=rng)
    with_target = type(program)(program.module, program.inputs, program.input_names, target)
    rewritten, _ = run_pipeline(Pipeline.parse("default"), with_target)
    return tasks_of(rewritten, target)


def product_task(rng: torch.Generator) -> Task:
    """A matrix product with many row tiles, so that every fault can be planted."""
    net = nn.Sequential(nn.Conv2d(64, 48, 1), nn.ReLU())
    program, _ = run_pipeline(Pipeline.parse("default"), program_of(net, (1, 64, 28, 28), rng=rng))
    (task,) = tasks_of(program, TARGET)
    return task


def integer_tasks(rng: torch.Generator, target: Target = TARGET) -> list[Task]:
    """The tasks of random layers on integers."""
    draw = Draw(rng)
    kinds = (pointwise, linear, dense, depthwise)
    drawn: list[Place] = places(target.quantized_dtype, draw)
    layers = [kinds[number % len(kinds)](place, draw) for number, place in enumerate(drawn)]
    shapes = tuple(shape for layer in layers for shape in layer.read)
    return tasks_of(program_of(All(layers), *shapes, rng=rng), target)
