"""Writing arrays to the files that the user named, each complete or not at all."""

import errno
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lwc.errors import BadInputError, ResourceError


def save_arrays(path: Path, arrays: tuple[NDArray[np.float32], ...]) -> None:
    """Writes the first array to `path` (out.npy), the others beside it (out_1.npy, ...).

    Raises BadInputError where that is not possible, ResourceError for a full disk.
    """
    for index, array in enumerate(arrays):
        _save_array(path.with_stem(f"{path.stem}_{index}") if index else path, array)


def _save_array(path: Path, array: NDArray[np.float32]) -> None:
    """Writes beside `path` and moves the file there; a link stays, what it points to is replaced."""
    try:
        final = Path(os.path.realpath(path))
        # Moving a file over a device would replace the device.
        if final.exists() and not final.is_file():
            raise BadInputError(f"{path}: is not a regular file; name another --output")
        temporary = final.with_name(f".lwc-{os.getpid()}.tmp")
        try:
            with temporary.open("xb") as file:
                np.save(file, array, allow_pickle=False)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror})"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"{message}; free some space") from None
        raise BadInputError(f"{message}; name another --output") from None
