"""Calibration samples in .npy and .npz files, which may be hostile: nothing is unpickled."""

import math
import os
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from lwc.errors import BadInputError, LwcError
from lwc.files import one_line, open_regular, shortened
from lwc.models.request import LoadedModel
from lwc.npy import read_npy

# Of an array file, and of all samples together.
MAX_BYTES = 4 * 1024**3


def read_arrays(path: Path, model: LoadedModel) -> list[NDArray[np.float32]]:
    """For each of the model's inputs an array (N, *shape of the input) from `path`, with the same N.

    A .npy file has the only input, a .npz file an array for each, by its name.
    Raises BadInputError where it is missing, malformed, too large or not what the model takes.
    """
    arrays = _read_npy(path, model) if path.suffix.lower() == ".npy" else _read_npz(path, model)
    counts = {name: len(array) for name, array in zip(model.input_names, arrays, strict=True)}
    if len(set(counts.values())) > 1:
        given = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise BadInputError(f"{path}: holds {given}; give the same number of each")
    return arrays


def ask_for_arrays(model: LoadedModel) -> str:
    """What to give: the arrays, with the number of samples as N."""
    shapes = [_short(tuple(x.shape[1:] if len(x) == 1 and x.dim() > 1 else x.shape)) for x in model.inputs]
    if len(shapes) == 1:
        return f"give a .npy file of Nx{shapes[0]} float32, N samples"
    arrays = ", ".join(f"{name} Nx{shape}" for name, shape in zip(model.input_names, shapes, strict=True))
    return f"give a .npz file of N samples in float32: {arrays}"


def _read_npy(path: Path, model: LoadedModel) -> list[NDArray[np.float32]]:
    ask = ask_for_arrays(model)
    if len(model.inputs) != 1:
        raise BadInputError(f"{path}: is one array, and the model has {len(model.inputs)} inputs; {ask}")
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        return [_read_array(file, size, str(path), tuple(model.inputs[0].shape), ask)]


def _read_npz(path: Path, model: LoadedModel) -> list[NDArray[np.float32]]:
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                entries = _check_entries(path, archive, model)
                arrays = []
                for name, example in zip(model.input_names, model.inputs, strict=True):
                    with archive.open(entries[name]) as entry:
                        where, size = f"{path}: array {name!r}", entries[name].file_size
                        wanted = tuple(example.shape)
                        arrays.append(_read_array(entry, size, where, wanted, ask_for_arrays(model)))
                return arrays
        except (LwcError, MemoryError):
            raise
        # zipfile and zlib raise nearly anything on a damaged file.
        except Exception as error:
            raise BadInputError(
                f"{path}: is no intact .npz file ({one_line(error)}); write it again"
            ) from None


def _check_entries(path: Path, archive: zipfile.ZipFile, model: LoadedModel) -> dict[str, zipfile.ZipInfo]:
    """The entries by the names of their arrays: one for each input, and none that expands without bound."""
    listed = archive.infolist()
    entries = {entry.filename.removesuffix(".npy"): entry for entry in listed}
    if set(entries) != set(model.input_names) or len(entries) != len(listed):
        found = shortened(", ".join(entry.filename for entry in listed), 200)
        raise BadInputError(f"{path}: holds {found}, not one array for each input; {ask_for_arrays(model)}")
    if sum(entry.file_size for entry in listed) > MAX_BYTES:
        raise BadInputError(f"{path}: expands to more than {MAX_BYTES} bytes; give fewer samples")
    # As numpy writes them. Of other methods, zipfile expands a part without a limit.
    if {entry.compress_type for entry in listed} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise BadInputError(f"{path}: is compressed in an unknown way; write it with numpy.savez")
    return entries


def _read_array(
    file: IO[bytes], length: int, where: str, wanted: tuple[int, ...], ask: str
) -> NDArray[np.float32]:
    """The samples (N, *wanted) of a .npy file of `length` bytes."""

    def check(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        count = _sample_count(shape, wanted)
        if dtype != np.dtype("<f4") or count is None:
            found = f"{_short(shape)} {dtype}"
            raise BadInputError(f"{where}: holds {found:.200}, the input is {_short(wanted)} float32; {ask}")
        if count < 1:
            raise BadInputError(f"{where}: holds no sample; {ask}")
        if 4 * math.prod(shape) > MAX_BYTES:
            raise BadInputError(f"{where}: holds more than {MAX_BYTES} bytes; give fewer samples")

    return read_npy(file, length, where, ask, check).reshape(-1, *wanted)


def _sample_count(shape: tuple[int, ...], wanted: tuple[int, ...]) -> int | None:
    """How many samples an array of `shape` is; None where it is none."""
    if shape == wanted:
        return 1
    rows = wanted[1:] if wanted[:1] == (1,) else wanted
    return shape[0] if shape and shape[1:] in (wanted, rows) else None


def _short(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
