"""What `lwc run` says of a package's outputs: the likeliest classes, or the range of the values."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.cli.output import table
from lwc.cli.units import short_shape
from lwc.errors import VerificationError
from lwc.package.manifest import Manifest, TensorInfo
from lwc.package.steps import Elements

CLASSES = "N,classes"


@dataclass(frozen=True)
class Guess:
    """A class that the model considers, for one image of the batch."""

    image: int
    index: int
    label: str | None
    logit: float
    probability: float


def check_finite(arrays: tuple[Elements, ...], manifest: Manifest) -> None:
    """Raises VerificationError for an output with NaN or infinity: there is nothing true to say of it."""
    for info, array in zip(manifest.outputs, arrays, strict=True):
        if not np.isfinite(array).all():
            raise VerificationError(
                f"output {info.name!r} holds NaN or infinity; give smaller input values, or try `lwc verify`"
            )


def top_classes(logits: NDArray[np.float32], labels: tuple[str, ...] | None, count: int) -> list[Guess]:
    """The `count` likeliest classes of each row of finite `logits` (images, classes), the likeliest first."""
    guesses = []
    for image, row in enumerate(logits.astype(np.float64)):
        weights = np.exp(row - row.max())
        probabilities = weights / weights.sum()
        # Stable, so that of equal logits the lower index comes first.
        for index in np.argsort(-row, kind="stable")[:count].tolist():
            label = labels[index] if labels and index < len(labels) else None
            guesses.append(Guess(image, index, label, float(row[index]), float(probabilities[index])))
    return guesses


def output_text(info: TensorInfo, array: NDArray[np.float32], manifest: Manifest, count: int) -> str:
    """The lines for one output, its numbers real ones."""
    if info.layout != CLASSES:
        numbers = {"minimum": array.min(), "maximum": array.max(), "mean": array.mean(dtype=np.float64)}
        row = [info.name, short_shape(array.shape), *(f"{value:.5g}" for value in numbers.values())]
        return table(("output", "shape", *numbers), [row], right=tuple(numbers))
    rows = [
        (str(g.image), str(g.index), g.label or "", f"{g.logit:.4f}", f"{g.probability:.4f}")
        for g in top_classes(array, manifest.labels, count)
    ]
    header = ("image", "class", "label", "logit", "probability")
    kept = [
        column
        for column, name in enumerate(header)
        if (name != "image" or len(array) > 1) and (name != "label" or manifest.labels)
    ]
    return table(
        [header[column] for column in kept],
        [[row[column] for column in kept] for row in rows],
        right=("image", "class", "logit", "probability"),
    )


def output_document(
    info: TensorInfo, array: NDArray[np.float32], manifest: Manifest, count: int
) -> dict[str, Any]:
    """The same as a JSON object."""
    document: dict[str, Any] = {
        "name": info.name,
        "shape": list(array.shape),
        "dtype": info.dtype,
        "scale": info.scale,
        "zero_point": info.zero_point,
    }
    if info.layout == CLASSES:
        return document | {"top": [asdict(g) for g in top_classes(array, manifest.labels, count)]}
    mean = float(array.mean(dtype=np.float64))
    return document | {"minimum": float(array.min()), "maximum": float(array.max()), "mean": mean}
