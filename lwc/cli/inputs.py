"""The files that `lwc run` and `lwc bisect` take, as the arrays that a model takes."""

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lwc.cli.units import short_shape
from lwc.errors import BadInputError
from lwc.files import open_regular
from lwc.models.preprocess import Preprocessing, preprocess_image
from lwc.npy import read_npy
from lwc.package.manifest import TensorInfo
from lwc.package.steps import Elements, quantize

_MAGIC = b"\x93NUMPY"


def read_inputs(
    paths: tuple[Path, ...], wanted: tuple[TensorInfo, ...], preprocessing: Preprocessing | None
) -> tuple[Elements, ...]:
    """One array for each of the inputs `wanted`, in their order; images become one by `preprocessing`.

    Where an input is of integers, images and arrays of float32 are quantized, arrays of integers taken as they are.

    Raises BadInputError for a wrong number of files, and for a file that is not what is wanted.
    """
    if len(paths) != len(wanted):
        names = ", ".join(info.name for info in wanted)
        raise BadInputError(f"--input: given {len(paths)} times; give one file each for {names}")
    return tuple(_read_input(path, info, preprocessing) for path, info in zip(paths, wanted, strict=True))


def _read_input(path: Path, info: TensorInfo, preprocessing: Preprocessing | None) -> Elements:
    with open_regular(path) as file:
        is_array = path.suffix.lower() == ".npy" or file.read(len(_MAGIC)) == _MAGIC
        file.seek(0)
        array = _read_array(file, path, info) if is_array else _read_image(path, info, preprocessing)
    if not np.isfinite(array).all():
        raise BadInputError(f"{path}: holds NaN or infinity; give finite numbers")
    return array if array.dtype == info.dtype else quantize(array, info)


def _read_image(path: Path, info: TensorInfo, preprocessing: Preprocessing | None) -> NDArray[np.float32]:
    wanted = f"{short_shape(info.shape)} {info.dtype}"
    if preprocessing is None:
        raise BadInputError(
            f"{path}: is no .npy file, and the model does not say how to read images; {_ask(info)}"
        )
    array = preprocess_image(path, preprocessing)
    if array.shape != info.shape:
        raise BadInputError(f"{path}: one image is not the input of {wanted}; {_ask(info)}")
    return array


def _read_array(file: BinaryIO, path: Path, info: TensorInfo) -> Elements:
    """The array, of the expected shape, float32 or of the input's type."""

    def check(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        if dtype not in (np.dtype("<f4"), np.dtype(info.dtype)) or shape != info.shape:
            found = f"{short_shape(shape)} {dtype}"
            raise BadInputError(f"{path}: holds {found:.200}, input {info.name!r} differs; {_ask(info)}")

    values = read_npy(file, os.fstat(file.fileno()).st_size, str(path), _ask(info), check)
    return np.ascontiguousarray(values)


def _ask(info: TensorInfo) -> str:
    types = "float32" if info.dtype == "float32" else f"float32, or of {info.dtype}"
    return f"give a .npy file of {short_shape(info.shape)} {types} ({info.layout})"
