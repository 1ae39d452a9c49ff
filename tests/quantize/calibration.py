"""Models to calibrate, data for it, and what is said of that."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from lwc.errors import BadInputError
from lwc.models.preprocess import Preprocessing
from lwc.models.request import LoadedModel
from lwc.quantize.data import CalibrationData, read_calibration

SIZE = 8
HOW = Preprocessing(
    resize=10,
    resample="bilinear",
    crop=(SIZE, SIZE),
    rescale=1 / 255,
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
    bgr=False,
)
SHAPE = (1, 3, SIZE, SIZE)
FEW = "little of the ranges; give about 100"


def model_of(*shapes: tuple[int, ...], how: Preprocessing | None = None) -> LoadedModel:
    """A model with inputs of `shapes`, called image, mask and scale."""
    return LoadedModel(
        name="net",
        source="net",
        module=nn.Identity(),
        inputs=tuple(map(torch.zeros, shapes)),
        input_names=("image", "mask", "scale")[: len(shapes)],
        output_names=("logits",),
        input_layouts=("dims",) * len(shapes),
        output_layouts=("N,classes",),
        preprocessing=how,
        labels=None,
        weights="random",
    )


PLAIN = model_of(SHAPE)
TWO = model_of(SHAPE, (1, 5))
CLASSIFIER = model_of(SHAPE, how=HOW)


def normal(random: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Normal float32 numbers."""
    return random.standard_normal(shape, np.float32)


def write_images(folder: Path, random: np.random.Generator, count: int) -> list[Path]:
    """Images of noise, 00.png and so on."""
    paths = [folder / f"{number:02}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).save(path)
    return paths


def read(source: Path | str, model: LoadedModel, limit: int = 512) -> tuple[CalibrationData, list[str]]:
    """The data and the warnings."""
    warnings: list[str] = []
    return read_calibration(str(source), model, 0, warnings.append, limit), warnings


def refusal(source: Path | str, model: LoadedModel) -> str:
    """The one line of the error, without the folders before the name of the source."""
    with pytest.raises(BadInputError) as caught:
        read(source, model)
    text = str(caught.value)
    assert text.isprintable()
    return text.replace(f"{Path(source).parent}{os.sep}", "")
