"""What is asked of the models package, and what it gives; importing this imports no torch."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lwc.errors import UsageError
from lwc.models.preprocess import Preprocessing

if TYPE_CHECKING:
    import torch

WeightsOrigin = Literal["pretrained", "random", "file"]


@dataclass(frozen=True)
class ModelRequest:
    """A model as the user names it, and how it is to differ from its defaults (None: not at all).

    `width`: depth multiplier of MobileNets; `image_size`: height and width in pixels; `weights`: auto,
    pretrained, random, or the path of a .safetensors file or of a Hugging Face folder; `seed`: of random
    weights and example inputs. Raises UsageError for a value out of range.
    """

    model: str
    width: float | None = None
    image_size: int | None = None
    output_stride: int | None = None
    num_labels: int | None = None
    batch: int = 1
    weights: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width is not None and not (math.isfinite(self.width) and 0.05 <= self.width <= 4):
            raise UsageError(f"width {self.width}: out of range; give a number from 0.05 to 4")
        _check("image size", self.image_size, 16, 2048)
        _check("number of labels", self.num_labels, 1, 65536)
        _check("batch", self.batch, 1, 1024)
        _check("seed", self.seed, 0, 2**63 - 1)
        if self.output_stride not in (None, 8, 16, 32):
            raise UsageError(f"output stride {self.output_stride}: not supported; give 8, 16 or 32")


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to trace.

    `name`: a C identifier of at most 64 characters; `source`: what was asked for, without folders of this
    machine; `module`: in eval mode, takes `inputs` by position and returns one tensor or a tuple of tensors,
    all dense float32; `inputs`: seeded, distributed as preprocessing gives them; names are C identifiers;
    layouts are "NCHW", "N,classes", or "dims" where unknown; `labels`: the classes' names in order, if known.
    """

    name: str
    source: str
    module: "torch.nn.Module"
    inputs: "tuple[torch.Tensor, ...]"
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    input_layouts: tuple[str, ...]
    output_layouts: tuple[str, ...]
    preprocessing: Preprocessing | None
    labels: tuple[str, ...] | None
    weights: WeightsOrigin


def _check(what: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise UsageError(f"{what} {value}: out of range; give a number from {low} to {high}")
