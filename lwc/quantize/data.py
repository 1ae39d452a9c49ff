"""The inputs that INT8 ranges are measured on: images, arrays, or made ones."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from lwc.errors import BadInputError, UsageError
from lwc.files import shortened
from lwc.models.preprocess import Preprocessing, preprocess_image
from lwc.models.request import LoadedModel
from lwc.models.synthetic import example_input, natural_images, vary_exposure
from lwc.quantize.arrays import MAX_BYTES, ask_for_arrays, read_arrays

# One tuple of the model's inputs a sample, shaped like LoadedModel.inputs.
Batches = list[tuple[torch.Tensor, ...]]
Warn = Callable[[str], None]

# The source that is a word; a folder of that name is ./synthetic.
SYNTHETIC = "synthetic"
_MADE = 32
_FEW = 8
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".ppm", ".tif", ".tiff")
# Of pixels from 0 to 1, as photographs have them.
_MEAN, _DEVIATION = 0.44, 0.27


@dataclass(frozen=True)
class CalibrationData:
    """Samples shaped like the model's inputs, and what they are: "synthetic", "100 images", "32 arrays"."""

    samples: tuple[tuple[torch.Tensor, ...], ...]
    source: str


def read_calibration(
    source: str, model: LoadedModel, seed: int, warn: Warn, limit: int = 512
) -> CalibrationData:
    """The samples of `source`: a folder of images, a .npy or .npz file, or the word "synthetic".

    Where there are more than `limit`, or than fit into 4 GB, an even spread of them is taken. A model that takes
    several images at once gets several to a sample, the first ones again where the last sample lacks some. `seed`
    is that of made samples; `warn` gets one line for each reason why ranges may be poor.
    Raises BadInputError where the source is missing, malformed, not what the model takes, NaN, infinite or flat.
    """
    if limit < 1:
        raise UsageError(f"limit {limit}: out of range; give at least 1")
    if source == SYNTHETIC:
        return CalibrationData(tuple(_make_samples(model, seed, limit, warn)), SYNTHETIC)
    path = Path(source)
    # Not Path.is_dir, which raises for a name that is too long or has a NUL in it.
    if os.path.isdir(source):
        samples, kind = _read_images(path, model, limit, warn), "image"
    elif path.suffix.lower() in (".npy", ".npz"):
        samples, kind = _read_arrays(path, model, limit, warn), "array"
    else:
        problem = "is no data to calibrate with" if os.path.exists(source) else "does not exist"
        raise BadInputError(
            f"{shortened(source, 200)}: {problem}; give a folder of images, a .npy or .npz file, or {SYNTHETIC!r}"
        )
    _check_variety(path, samples, kind, warn)
    grouped = _grouped(samples, len(model.inputs[0])) if kind == "image" else samples
    return CalibrationData(tuple(grouped), _counted(len(samples), kind))


# Images.


def _read_images(folder: Path, model: LoadedModel, limit: int, warn: Warn) -> Batches:
    """Each image alone, whatever the model's batch."""
    how = _image_preprocessing(model)
    if how is None:
        raise BadInputError(
            f"{folder}: the model does not say how an image becomes its input; {ask_for_arrays(model)}"
        )
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    except OSError as error:
        raise BadInputError(f"{folder}: cannot be read ({error.strerror}); check the permissions") from None
    # Programs leave hidden files beside images, such as ._photo.jpg, which are none.
    paths = [path for path in found if not path.name.startswith(".")]
    if not paths:
        raise BadInputError(
            f"{folder}: holds no image (.png, .jpg ...), and folders in it are not searched; put about 100 there"
        )
    samples: Batches = []
    for index in _spread(folder, len(paths), "image", min(limit, _capacity((1, 3, *how.size))), warn):
        samples.append((torch.from_numpy(preprocess_image(paths[index], how)),))
        _check_finite(str(paths[index]), model, samples[-1])
    return samples


def _image_preprocessing(model: LoadedModel) -> Preprocessing | None:
    """How an image becomes one row of the model's only input; None where it does not."""
    how = model.preprocessing
    return how if how and [tuple(x.shape[1:]) for x in model.inputs] == [(3, *how.size)] else None


def _grouped(images: Batches, batch: int) -> Batches:
    """`images` joined to samples of `batch` each, the first ones again where the last sample lacks some."""
    if batch == 1:
        return images
    rows = [[images[i % len(images)][0] for i in range(j, j + batch)] for j in range(0, len(images), batch)]
    return [(torch.cat(row),) for row in rows]


# Arrays.


def _read_arrays(path: Path, model: LoadedModel, limit: int, warn: Warn) -> Batches:
    arrays = read_arrays(path, model)
    samples: Batches = []
    capacity = min(limit, _capacity(*(tuple(x.shape) for x in model.inputs)))
    for index in _spread(path, len(arrays[0]), "array", capacity, warn):
        samples.append(tuple(torch.from_numpy(np.array(array[index], order="C")) for array in arrays))
        _check_finite(f"{path}: sample {index}", model, samples[-1])
    return samples


# Made samples.


def _make_samples(model: LoadedModel, seed: int, limit: int, warn: Warn) -> Batches:
    """Made photographs, preprocessed; where the model does not say how, numbers with mean 0 and deviation 1."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [tuple(x.shape) for x in model.inputs]
    how = _image_preprocessing(model)
    made, real = ("images", "a folder of about 100") if how else ("inputs", "a file of about 100")
    warn(
        f"calibrated on MADE {made.upper()}: accuracy on real ones may suffer; give --calibrate {real} real {made}"
    )
    if how is not None:
        count = min(_MADE, limit, _capacity((1, 3, *how.size)))
        return _grouped(list(_photographs(how, count, generator)), shapes[0][0])
    count = min(_MADE, limit, _capacity(*shapes))
    # Drawn, because the model's own example has `seed` itself.
    seeds = torch.randint(2**62, (count, len(shapes)), generator=generator).tolist()
    return [tuple(map(example_input, shapes, row)) for row in seeds]


def _photographs(
    how: Preprocessing, count: int, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Made pictures of 8 bits, of the size that they would be resized to, read like the user's own."""
    edge = how.resize or how.size
    size = (edge, edge) if isinstance(edge, int) else edge
    with TemporaryDirectory() as folder:
        path = Path(folder, "made.bmp")
        for _ in range(count):
            values = vary_exposure(natural_images((1, 3, *size), generator), generator)[0]
            pixels = (255 * (_MEAN + _DEVIATION * values)).round().clamp(0, 255).byte()
            Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(path)
            yield (torch.from_numpy(preprocess_image(path, how)),)


# What samples are checked for, and how they are spoken of.


def _spread(path: Path, count: int, kind: str, limit: int, warn: Warn) -> list[int]:
    """At most `limit` of the numbers below `count`, evenly spaced."""
    if count <= limit:
        return list(range(count))
    warn(f"{path}: holds {_counted(count, kind)}; an even spread of {limit} of them is taken")
    return [index * count // limit for index in range(limit)]


def _capacity(*shapes: tuple[int, ...]) -> int:
    """How many samples of `shapes` may be held in memory."""
    return max(1, MAX_BYTES // (4 * sum(map(math.prod, shapes))))


def _check_finite(where: str, model: LoadedModel, sample: tuple[torch.Tensor, ...]) -> None:
    for name, value in zip(model.input_names, sample, strict=True):
        if not bool(torch.isfinite(value).all()):
            raise BadInputError(f"{where}: input {name!r} holds NaN or infinity; give finite numbers")


def _check_variety(path: Path, samples: Batches, kind: str, warn: Warn) -> None:
    """Raises BadInputError where no sample shows anything; warns where there are few, or all are the same."""
    if all(_is_flat(value) for sample in samples for value in sample):
        raise BadInputError(f"{path}: every {kind} is of one value throughout; give ordinary ones")
    if len(samples) < _FEW:
        says = "says" if len(samples) == 1 else "say"
        warn(f"{path}: {_counted(len(samples), kind)} {says} little of the ranges; give about 100")
    if len(samples) > 1 and all(all(map(torch.equal, samples[0], sample)) for sample in samples[1:]):
        warn(f"{path}: all {_counted(len(samples), kind)} are the same; give different ones")


def _is_flat(value: torch.Tensor) -> bool:
    """Whether `value`, or each plane of it where it is an image, is one number over and over."""
    is_image = value.dim() == 4 and value.shape[2:].numel() > 1
    rows = value.flatten(2) if is_image else value.reshape(1, -1)
    return rows.shape[-1] > 1 and bool((rows == rows[..., :1]).all())


def _counted(count: int, kind: str) -> str:
    return f"{count} {kind}" if count == 1 else f"{count} {kind}s"
