"""The files that `lwc run` and `lwc bisect` take, as the arrays that a model takes."""

import math
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lwc.cli.units import short_shape
from lwc.errors import BadInputError
from lwc.files import one_line, open_regular
from lwc.models.preprocess import Preprocessing, preprocess_image
from lwc.package.manifest import TensorInfo

_MAGIC = b"\x93NUMPY"


def read_inputs(
    paths: tuple[Path, ...], wanted: tuple[TensorInfo, ...], preprocessing: Preprocessing | None
) -> tuple[NDArray[np.float32], ...]:
    """One array for each of the inputs `wanted`, in their order; images become one by `preprocessing`.

    Raises BadInputError for a wrong number of files, and for a file that is not what is wanted.
    """
    if len(paths) != len(wanted):
        names = ", ".join(info.name for info in wanted)
        raise BadInputError(f"--input: given {len(paths)} times; give one file each for {names}")
    return tuple(_read_input(path, info, preprocessing) for path, info in zip(paths, wanted, strict=True))


def _read_input(path: Path, info: TensorInfo, preprocessing: Preprocessing | None) -> NDArray[np.float32]:
    with open_regular(path) as file:
        is_array = path.suffix.lower() == ".npy" or file.read(len(_MAGIC)) == _MAGIC
        file.seek(0)
        array = _read_array(file, path, info) if is_array else _read_image(path, info, preprocessing)
    if not np.isfinite(array).all():
        raise BadInputError(f"{path}: holds NaN or infinity; give finite numbers")
    return array


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


def _read_array(file: BinaryIO, path: Path, info: TensorInfo) -> NDArray[np.float32]:
    """The array, of exactly the expected type and shape; nothing is allocated on the word of the header."""
    try:
        shape, fortran_order, dtype = _read_header(file)
    # numpy parses the header as Python source, which raises nearly anything on a damaged one.
    except Exception as error:
        raise BadInputError(f"{path}: is no valid .npy file ({one_line(error)}); {_ask(info)}") from None
    if dtype != np.dtype("<f4") or shape != info.shape:
        found = f"{short_shape(shape)} {dtype}"
        raise BadInputError(f"{path}: holds {found:.200}, input {info.name!r} differs; {_ask(info)}")
    size = 4 * math.prod(shape)
    if os.fstat(file.fileno()).st_size != file.tell() + size:
        raise BadInputError(
            f"{path}: does not hold the {size} bytes that its header announces; write it again"
        )
    values = np.frombuffer(file.read(size), dtype)
    return np.ascontiguousarray(values.reshape(shape, order="F" if fortran_order else "C"), np.float32)


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version[0]}.{version[1]} is not read")


def _ask(info: TensorInfo) -> str:
    return f"give a .npy file of {short_shape(info.shape)} {info.dtype} ({info.layout})"
