"""Arrays in .npy files from outside: nothing is allocated on the word of a header."""

import math
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lwc.errors import BadInputError
from lwc.files import one_line

Header = tuple[tuple[int, ...], bool, np.dtype[np.generic]]


def read_npy(
    file: IO[bytes],
    length: int,
    where: str,
    ask: str,
    check: Callable[[tuple[int, ...], np.dtype[np.generic]], None],
) -> NDArray[Any]:
    """The array in `file`, which has `length` bytes, read-only and in the order in which it lies there.

    `check` gets the shape and the dtype before anything else is read, and raises BadInputError where they are not what
    is wanted: it must let numbers pass alone. Raises BadInputError, too, where the file is malformed; `where` names it,
    and `ask` says what to give instead.
    """
    try:
        shape, fortran_order, dtype = _read_header(file)
    # numpy parses the header as Python source, which raises nearly anything on a damaged one.
    except Exception as error:
        raise BadInputError(f"{where}: is no valid .npy file ({one_line(error)}); {ask}") from None
    check(shape, dtype)
    size = dtype.itemsize * math.prod(shape)
    # One byte more is asked for: zipfile compares the checksum at the end only.
    if length != file.tell() + size or len(content := file.read(size + 1)) != size:
        raise BadInputError(
            f"{where}: does not hold the {size} bytes that its header announces; write it again"
        )
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")


def _read_header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version[0]}.{version[1]} is not read")
