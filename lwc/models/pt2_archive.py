"""The archive of a .pt2 file, read as a hostile one: zip entries, JSON and raw tensors; never a pickle.

`torch.export.load` unpickles whatever the JSON marks with `use_pickle`, falls back to full unpickling for
sample inputs, and evaluates strings of the file. So the archive is read here, and torch gets only values.
"""

import math
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from lwc.errors import BadInputError, UnsupportedError
from lwc.files import MAX_JSON_BYTES, one_line, open_regular, parse_json_object

_MAX_ENTRIES = 20_000
_MAX_TENSOR_BYTES = 1024**3
_AGAIN = "export the model again with torch.export.save"
# Serialized number -> dtype: weights and constants are of these.
_DTYPES = {1: torch.uint8, 2: torch.int8, 4: torch.int32, 5: torch.int64, 7: torch.float32, 12: torch.bool}


@dataclass(frozen=True)
class Archive:
    """What is in a .pt2 file: the program's JSON, and by name its parameters and buffers, and constants."""

    program: dict[str, Any]
    state: dict[str, torch.Tensor]
    constants: dict[str, torch.Tensor]


def read_archive(path: Path) -> Archive:
    """Read and check the .pt2 file `path`, as torch.export.save of torch 2.13 writes it; runs no code of it.

    Raises BadInputError for a malformed or hostile file, UnsupportedError for what needs a pickle.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _read(path, _Entries(path, file, archive))
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, UnicodeError) as error:
            raise BadInputError(f"{path}: is no intact .pt2 archive ({one_line(error)}); {_AGAIN}") from None


class _Entries:
    """The checked entries of an archive, by their names without the common root folder."""

    def __init__(self, path: Path, file: BinaryIO, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        entries = archive.infolist()
        if not 0 < len(entries) <= _MAX_ENTRIES:
            raise BadInputError(f"{path}: has {len(entries)} entries, the limit is {_MAX_ENTRIES}; {_AGAIN}")
        size = file.seek(0, 2)
        if sum(entry.file_size for entry in entries) > size:
            raise BadInputError(f"{path}: expands to more than its own {size} bytes; {_AGAIN}")
        self.names: dict[str, zipfile.ZipInfo] = {}
        root = entries[0].filename.partition("/")[0]
        for entry in entries:
            _check_entry(path, entry)
            head, _, name = entry.filename.partition("/")
            if head != root or name in self.names:
                raise BadInputError(f"{path}: entry {entry.filename!r:.100} is outside or double; {_AGAIN}")
            self.names[name] = entry

    def read(self, name: str) -> bytes:
        """The bytes of the entry `name`. Raises BadInputError where there is none."""
        if name not in self.names:
            raise BadInputError(f"{self._path}: lacks the entry {name!r:.100}; {_AGAIN}")
        return self._archive.read(self.names[name])

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in the entry `name`."""
        content = self.read(name)
        # A program of ten thousand operators has 30 MB.
        if len(content) > 8 * MAX_JSON_BYTES:
            raise BadInputError(f"{self._path}: entry {name} has {len(content)} bytes; {_AGAIN}")
        return parse_json_object(content, f"{self._path}: {name}")


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    parts = name.split("/")
    problem = None
    if name.startswith("/") or "\\" in name or ".." in parts or "" in parts[:-1]:
        problem = "has an unsafe name"
    elif stat.S_ISLNK(entry.external_attr >> 16):
        problem = "is a symbolic link"
    elif entry.flag_bits & 1:
        problem = "is encrypted"
    elif entry.compress_type != zipfile.ZIP_STORED:
        problem = "is compressed, which torch.export.save never does"
    if problem is not None:
        raise BadInputError(f"{path}: entry {name!r:.100} {problem}; {_AGAIN}")


def _read(path: Path, entries: _Entries) -> Archive:
    if entries.read("archive_format") != b"pt2" or entries.read("archive_version") != b"0":
        raise BadInputError(f"{path}: is not a .pt2 archive of version 0; export it with torch 2.13")
    if entries.read("byteorder") != b"little":
        raise UnsupportedError(
            f"{path}: was written on a big-endian machine; export it on a little-endian one"
        )
    models = [name for name in entries.names if name.startswith("models/")]
    if models != ["models/model.json"]:
        raise UnsupportedError(f"{path}: holds {len(models)} programs, not one called model; {_AGAIN}")
    return Archive(
        entries.read_json("models/model.json"),
        _tensors(path, entries, "data/weights/", "model_weights_config.json"),
        _tensors(path, entries, "data/constants/", "model_constants_config.json"),
    )


def _tensors(path: Path, entries: _Entries, folder: str, config_name: str) -> dict[str, torch.Tensor]:
    table = entries.read_json(folder + config_name).get("config")
    if not isinstance(table, dict):
        raise BadInputError(f"{path}: {config_name} lists no tensors; {_AGAIN}")
    tensors, total = {}, 0
    for name, payload in table.items():
        where = f"{path}: tensor {name!r:.100}"
        if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
            raise UnsupportedError(
                f"{where} is a pickle, which can run code; keep plain tensors in the model"
            )
        meta, file = payload.get("tensor_meta"), payload.get("path_name")
        if not isinstance(meta, dict) or not isinstance(file, str):
            raise BadInputError(f"{where} has no shape or no file; {_AGAIN}")
        tensors[name] = _tensor(where, meta, entries.read(folder + file))
        total += tensors[name].nbytes
        if total > _MAX_TENSOR_BYTES:
            raise BadInputError(
                f"{path}: its tensors take more than {_MAX_TENSOR_BYTES} bytes; use a smaller model"
            )
    return tensors


def _tensor(where: str, meta: Mapping[str, Any], content: bytes) -> torch.Tensor:
    """A dense copy of the tensor that `meta` describes in `content`, every element inside of it."""
    dtype = next((dtype for code, dtype in _DTYPES.items() if code == meta.get("dtype")), None)
    if dtype is None:
        raise UnsupportedError(f"{where} is not float32, bool, or an integer; convert the model to float32")
    sizes, strides = static_sizes(where, meta.get("sizes")), static_sizes(where, meta.get("strides"))
    (offset,) = static_sizes(where, [meta.get("storage_offset")])
    if len(sizes) != len(strides):
        raise BadInputError(f"{where} has {len(sizes)} sizes but {len(strides)} strides; {_AGAIN}")
    count = math.prod(sizes)
    if count == 0:
        return torch.zeros(sizes, dtype=dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if (last + 1) * dtype.itemsize > len(content) or len(content) % dtype.itemsize:
        raise BadInputError(f"{where} reaches past the end of its {len(content)} bytes; {_AGAIN}")
    # Strides of zero make much out of little.
    if count * dtype.itemsize > _MAX_TENSOR_BYTES:
        raise BadInputError(f"{where} has {count} elements, too many; use a smaller model")
    flat = torch.frombuffer(bytearray(content), dtype=dtype)
    return flat.as_strided(sizes, strides, offset).clone(memory_format=torch.contiguous_format)


def static_sizes(where: str, values: Any) -> tuple[int, ...]:
    """Serialized sizes as numbers. Raises UnsupportedError for symbols, BadInputError for other things."""
    if not isinstance(values, list) or len(values) > 16:
        raise BadInputError(f"{where} has a malformed shape; {_AGAIN}")
    sizes = []
    for value in values:
        if isinstance(value, dict) and "as_expr" in value:
            raise UnsupportedError(f"{where} has a dynamic shape; export the model without dynamic_shapes")
        size = value.get("as_int") if isinstance(value, dict) else None
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**40:
            raise BadInputError(f"{where} has the size or stride {size!r:.30}; {_AGAIN}")
        sizes.append(size)
    return tuple(sizes)
