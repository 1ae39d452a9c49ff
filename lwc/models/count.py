"""How large a model is: its parameters and its multiplications, counted without computing anything."""

from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from lwc.models.architecture import LogitsOnly, build
from lwc.models.zoo import ZOO, Task, ZooModel

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Counts:
    """Parameters, and multiply-accumulates of convolutions, linear layers and matrix products."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class ZooRow:
    """A zoo model as `lwc models` lists it."""

    name: str
    parameters: int
    macs: int
    input_shape: Shape
    task: Task
    hub_id: str


def count(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Counts:
    """The size of `module` when it runs on `inputs` once; nothing is computed but shapes."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        return _count(module, tuple(mode.from_tensor(item) for item in inputs))


def zoo_summary() -> tuple[ZooRow, ...]:
    """All zoo models at their default sizes, in the zoo's order."""
    return tuple(_row(entry) for entry in ZOO.values())


def _row(entry: ZooModel) -> ZooRow:
    size = entry.image_size
    # Without data: no memory, and no time for initialising it.
    with torch.device("meta"):
        module = LogitsOnly(build(entry.architecture, entry.config | {"image_size": size}, entry.name))
        image = torch.empty(1, 3, size, size)
    counts = _count(module, (image,))
    return ZooRow(entry.name, counts.parameters, counts.macs, tuple(image.shape), entry.task, entry.hub_id)


def _attention(query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    flops: int = sdpa_flop_count(query, key, value)  # type: ignore[no-untyped-call]
    return flops


# The counter by itself knows attention only as CUDA runs it.
_CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


def _count(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Counts:
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
        module(*inputs)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    # The counter has a multiplication and an addition as two.
    return Counts(parameters, counter.get_total_flops() // 2)
