"""How often a classifier is right on labelled images, in PyTorch and float32.

A folder of labelled images has a file labels.csv with the columns `file` (below the folder) and `label` (the number
of the class in the model's output); further columns are ignored.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from lwc.errors import BadInputError, UnsupportedError
from lwc.files import one_line, read_regular
from lwc.models.preprocess import preprocess_image
from lwc.models.request import LoadedModel

LABELS_NAME = "labels.csv"
_MAX_BYTES = 64 * 1024 * 1024
# The 97.5th percentile of the normal distribution.
_Z = 1.959963984540054
# Fewer classes say nothing with their five likeliest.
_FIVE = 5


@dataclass(frozen=True)
class LabelledImage:
    """An image file and the number of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Accuracy:
    """How many of `images` have their class as the likeliest, and among the five likeliest (None: too few classes).

    `agreement`: for how many the likeliest class is that of the model before it was changed.
    """

    images: int
    top1: int
    top5: int | None
    agreement: int


def read_labels(folder: Path) -> tuple[LabelledImage, ...]:
    """The images that `folder`/labels.csv lists.

    Raises BadInputError where that is missing or malformed, or lists none; the images are not looked at.
    """
    path = folder / LABELS_NAME
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise BadInputError(f"{folder}: {what}; give a folder of images with {LABELS_NAME}")
    content = read_regular(path, _MAX_BYTES, follow_link=True)
    try:
        # The mark that some programs put first is no part of a name.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInputError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    images: dict[Path, LabelledImage] = {}
    try:
        if not {"file", "label"} <= set(reader.fieldnames or ()):
            raise BadInputError(f"{path}: the first line names no columns 'file' and 'label'; add it")
        if len(set(reader.fieldnames or ())) < len(reader.fieldnames or ()):
            raise BadInputError(f"{path}: the first line names a column twice; rename one")
        for row in reader:
            image = _labelled(folder, row)
            if image.path in images:
                raise ValueError(f"{row['file']!r:.80} is listed twice")
            images[image.path] = image
    except csv.Error as error:
        raise BadInputError(f"{path}: is not a table in CSV ({one_line(error)}); mend the file") from None
    except ValueError as error:
        raise BadInputError(f"{path}: line {reader.line_num}: {one_line(error)}; mend the file") from None
    if not images:
        raise BadInputError(f"{path}: lists no image; add a line for each")
    return tuple(images.values())


def _labelled(folder: Path, row: dict[str | None, str | None]) -> LabelledImage:
    """The image of one row. Raises ValueError for a malformed one."""
    name, label = row["file"], row["label"]
    if None in row or not name or not label:
        raise ValueError("has not the columns that the first line names")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name.isprintable():
        raise ValueError(f"{name!r:.80} is not a path below the folder")
    if not (label.isascii() and label.isdigit() and len(label) < 10):
        raise ValueError(f"label {label!r:.80} is not the number of a class")
    return LabelledImage(folder / name, int(label))


def require_classifier(model: LoadedModel, images: Sequence[LabelledImage]) -> None:
    """Raises UnsupportedError where `model` does not classify one image, BadInputError for a label that it lacks."""
    classes = _class_count(model)
    for image in images:
        if image.label >= classes:
            raise BadInputError(
                f"{image.path}: label {image.label}: out of range; the model has classes 0 to {classes - 1}"
            )


def _class_count(model: LoadedModel) -> int:
    how = model.preprocessing
    if how is None or [tuple(x.shape) for x in model.inputs] != [(1, 3, *how.size)]:
        raise UnsupportedError(
            f"{model.name}: does not say how one image becomes its input; --evaluate needs a model that does, and"
            " --batch 1"
        )
    with torch.no_grad():
        result = model.module(*model.inputs)
    if not isinstance(result, torch.Tensor) or result.dim() != 2 or len(result) != 1 or result.shape[1] < 2:
        raise UnsupportedError(
            f"{model.name}: does not give one tensor of shape (1, classes); --evaluate needs a classifier"
        )
    return result.shape[1]


def evaluate(
    modules: Sequence[torch.nn.Module],
    model: LoadedModel,
    images: Sequence[LabelledImage],
    note: Callable[[str], None],
) -> list[Accuracy]:
    """The accuracy of each of `modules`, which take what `model` takes, and how often it agrees with the first.

    `note` is told of the progress.
    `require_classifier` has passed. Raises BadInputError for an image that is missing or damaged.
    """
    assert model.preprocessing is not None
    # Of each image: its likeliest classes in order, five where there are as many.
    orders: list[list[NDArray[np.intp]]] = [[] for _ in modules]
    for number, image in enumerate(images, start=1):
        pixels = torch.from_numpy(preprocess_image(image.path, model.preprocessing))
        for module, found in zip(modules, orders, strict=True):
            with torch.no_grad():
                logits = module(pixels)[0]
            if not bool(torch.isfinite(logits).all()):
                raise BadInputError(
                    f"{image.path}: the model gives NaN or infinity for it; check the weights"
                )
            found.append(np.argsort(-logits.numpy(), kind="stable")[:_FIVE])
        note(f"{number} of {len(images)} images")
    labels = [image.label for image in images]
    return [_accuracy(found, labels, orders[0]) for found in orders]


def _accuracy(
    orders: Sequence[NDArray[np.intp]], labels: Sequence[int], first: Sequence[NDArray[np.intp]]
) -> Accuracy:
    top1 = sum(order[0] == label for order, label in zip(orders, labels, strict=True))
    top5 = sum(label in order for order, label in zip(orders, labels, strict=True))
    agreement = sum(order[0] == other[0] for order, other in zip(orders, first, strict=True))
    return Accuracy(len(labels), int(top1), top5 if len(orders[0]) == _FIVE else None, int(agreement))


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """The 95 % interval of Wilson's score for the share that `right` of `images` are a sample of."""
    share, square = right / images, _Z * _Z
    centre = (share + square / (2 * images)) / (1 + square / images)
    half = _Z / (1 + square / images) * math.sqrt(share * (1 - share) / images + square / (4 * images**2))
    return max(0.0, centre - half), min(1.0, centre + half)
