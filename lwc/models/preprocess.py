"""From an image file to the array that a model takes, as Hugging Face's image processors do it.

Imports neither torch nor transformers: a compiled package is run with this, too.
"""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lwc.errors import BadInputError
from lwc.files import one_line, open_regular

# What the file may hold, and what it may be resized to: a picture of one row becomes very wide.
MAX_PIXELS = 64 * 1024 * 1024
# Only decoders that run in the process; EPS, for one, would start Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
# Pixels of more than 8 bits: Pillow clips them on conversion instead of scaling them.
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")

Pixels = Annotated[int, Field(ge=1, le=8192)]
Size = tuple[Pixels, Pixels]
Channels = tuple[float, float, float]
Resample = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
Positive = Annotated[float, Field(gt=0)]


class Preprocessing(BaseModel):
    """How an image becomes a model's input, in this order.

    `resize`: the shortest edge in pixels (aspect ratio kept), or an exact (height, width), with filter
    `resample`; `crop`: the centre (height, width), zeros around a smaller image; pixels times `rescale`;
    then, by channel in RGB, (x - mean) / std; `bgr` reverses the channels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    resize: Pixels | Size | None
    resample: Resample
    crop: Size | None
    rescale: float
    mean: Channels | None
    std: tuple[Positive, Positive, Positive] | None
    bgr: bool

    @model_validator(mode="after")
    def _complete(self) -> "Preprocessing":
        if self.crop is None and not isinstance(self.resize, tuple):
            raise ValueError("neither crop nor an exact resize fixes the size of the input")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std come together or not at all")
        return self

    @property
    def size(self) -> Size:
        """Height and width of the input."""
        size = self.crop or self.resize
        assert isinstance(size, tuple)
        return size

    def with_size(self, size: int) -> "Preprocessing":
        """The same for an input of `size` x `size`, the margin around the crop scaled along."""
        resize = self.resize
        if isinstance(resize, tuple):
            resize = (size, size)
        elif resize is not None:
            resize = max(size, round(resize * size / min(self.size)))
        crop = (size, size) if self.crop else None
        return self.model_copy(update={"resize": resize, "crop": crop})


def preprocess_image(path: Path, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """The image file `path` as float32 of shape (1, 3, height, width).

    Gray, palette, CMYK and transparent images become RGB, EXIF orientation is applied, and of an animation
    the first frame is taken. Raises BadInputError for a file that is no image, is damaged, or is too large.
    """
    image = _read_rgb(path)
    if preprocessing.resize is not None:
        height, width = _resized(image.height, image.width, preprocessing.resize)
        _check_pixels(path, height * width, "would be resized to ")
        image = image.resize((width, height), Image.Resampling[preprocessing.resample.upper()])
    pixels = np.asarray(image)
    if preprocessing.crop is not None:
        pixels = _center_crop(pixels, preprocessing.crop)
    # In float64 and then rounded once, as the reference does.
    values: NDArray[np.float32] = (pixels * np.float64(preprocessing.rescale)).astype(np.float32)
    if preprocessing.mean is not None and preprocessing.std is not None:
        mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
        values = (values - mean) / std
    if preprocessing.bgr:
        values = values[..., ::-1]
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def _read_rgb(path: Path) -> Image.Image:
    with open_regular(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _guarded(path, lambda: Image.open(file, formats=_FORMATS))
        _check_pixels(path, image.width * image.height, "has ")
        if image.mode in _DEEP_MODES:
            raise BadInputError(f"{path}: has pixels of more than 8 bits; convert it to 8 bits a channel")
        return _guarded(path, lambda: ImageOps.exif_transpose(image).convert("RGB"))


def _guarded(path: Path, decode: Callable[[], Image.Image]) -> Image.Image:
    try:
        return decode()
    except Image.DecompressionBombError:
        raise BadInputError(f"{path}: has far more than {MAX_PIXELS} pixels; scale it down first") from None
    except UnidentifiedImageError:
        raise BadInputError(f"{path}: is not an image; give one of {', '.join(_FORMATS)}") from None
    # Decoders raise nearly anything on a damaged file.
    except Exception as error:
        raise BadInputError(f"{path}: is damaged ({one_line(error)}); give an intact image") from None


def _check_pixels(path: Path, pixels: int, what: str) -> None:
    if not 0 < pixels <= MAX_PIXELS:
        raise BadInputError(f"{path}: {what}{pixels} pixels, the limit is {MAX_PIXELS}; scale it down first")


def _resized(height: int, width: int, resize: int | Size) -> Size:
    if isinstance(resize, tuple):
        return resize
    short, long = min(height, width), max(height, width)
    scaled = int(resize * long / short)
    return (scaled, resize) if width <= height else (resize, scaled)


def _center_crop(pixels: NDArray[np.uint8], crop: Size) -> NDArray[np.uint8]:
    """The centre of `pixels` (height, width, 3), zeros around it where the image is smaller."""
    for axis, wanted in enumerate(crop):
        missing = wanted - pixels.shape[axis]
        if missing > 0:
            before = math.ceil(missing / 2)
            around = [(0, 0)] * 3
            around[axis] = (before, missing - before)
            pixels = np.pad(pixels, around)
        start = (pixels.shape[axis] - wanted) // 2
        pixels = pixels.take(range(start, start + wanted), axis=axis)
    return pixels
