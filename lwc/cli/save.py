"""Writing the files that the user named, each complete or not at all."""

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lwc.errors import BadInputError, ResourceError

if TYPE_CHECKING:
    from lwc.package.steps import Elements


def save_arrays(path: Path, arrays: "tuple[Elements, ...]") -> None:
    """Writes the first array to `path` (out.npy), the others beside it (out_1.npy, ...). Raises as `save_file`."""
    import numpy as np

    for index, array in enumerate(arrays):
        place = path.with_stem(f"{path.stem}_{index}") if index else path
        save_file(place, "--output", partial(np.save, arr=array, allow_pickle=False))


def check_place(path: Path) -> None:
    """Raises BadInputError, before a long measurement, where `save_file` could not write to `path`."""
    if path.is_dir():
        raise BadInputError(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():
        raise BadInputError(f"{path}: is not a regular file; name another one")
    if not path.parent.is_dir():
        raise BadInputError(f"{path}: its folder does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise BadInputError(f"{path}: its folder cannot be written; name another one")


def save_file(path: Path, option: str, write: Callable[[IO[bytes]], object]) -> None:
    """Calls `write` on a file beside `path`, which `option` named, and moves it there.

    A link stays, what it points to is replaced.

    Raises BadInputError where that is not possible, ResourceError for a full disk.
    """
    try:
        final = Path(os.path.realpath(path))
        # Moving a file over a device would replace the device.
        if final.exists() and not final.is_file():
            raise BadInputError(f"{path}: is not a regular file; name another {option}")
        temporary = final.with_name(f".lwc-{os.getpid()}.tmp")
        try:
            with temporary.open("xb") as file:
                write(file)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror})"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"{message}; free some space") from None
        raise BadInputError(f"{message}; name another {option}") from None
