"""Transposed convolutions, each with a batch norm and a ReLU: they agree with PyTorch once they are compiled."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lwc.errors import UnsupportedError
from tests.compiled.support import MAP, agrees, require_runner

pytestmark = pytest.mark.slow

# What differs from 6 channels to 4 by a kernel of 3 x 3.
FORMS: tuple[dict[str, Any], ...] = (
    {},
    {"bias": False},
    {"groups": 2},
    {"groups": 6, "out_channels": 6, "stride": 2, "padding": 1, "output_padding": 1},
    {"kernel_size": (2, 3), "stride": (2, 3), "padding": (0, 1), "output_padding": (1, 2)},
    {"dilation": (2, 3)},
    {"dilation": 2, "groups": 2, "stride": 2, "output_padding": 1},
    # More padding than the kernel reaches: it crops.
    {"kernel_size": 2, "padding": 2, "stride": 3},
    {"kernel_size": 1, "stride": 3},
)


def block(form: dict[str, Any]) -> nn.Sequential:
    """A transposed convolution of this form, and what follows it in decoders."""
    layer = nn.ConvTranspose2d(**({"in_channels": 6, "out_channels": 4, "kernel_size": 3} | form))
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU())


class Branches(nn.Module):
    """A block of each form on the same map, each an output."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(map(block, FORMS))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(block(x) for block in self.blocks)


@pytest.mark.parametrize("target", ["native", "arm64"])
def test_transposed_convolutions_agree(target: str, tmp_path: Path, rng: torch.Generator) -> None:
    require_runner(target)
    agrees(tmp_path, "transposed", Branches(), (2, *MAP[1:]), rng=rng, target=target)


def test_more_output_padding_than_the_stride_is_refused(tmp_path: Path, rng: torch.Generator) -> None:
    # PyTorch takes up to the dilation, TVM only what is below the stride.
    module = block({"dilation": 2, "output_padding": 1})
    with pytest.raises(UnsupportedError, match=r"conv_transpose2d.*cannot compile it in this form"):
        agrees(tmp_path, "padded", module, MAP, rng=rng)
