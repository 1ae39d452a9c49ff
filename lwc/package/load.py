"""Running a package from Python with numpy and ctypes alone: what `lwc.load` gives."""

import ctypes
import hashlib
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.errors import BadInputError, LwcError, ResourceError, UnsupportedError, VerificationError
from lwc.files import MAX_JSON_BYTES, parse_json_object, read_regular
from lwc.package.steps import Elements, dequantize, quantize

_MANIFEST = "manifest.json"
# By the numbers of lwc_dtype in the package's header.
_DTYPES = {1: "float32", 2: "uint8"}
MAX_THREADS = 256  # of runtime/lwc_internal.h; ctypes would cut larger numbers to 32 bits


@dataclass(frozen=True)
class Tensor:
    """An input or output: dense, row-major, in the order of `layout`, its elements "float32" or "uint8".

    real number = scale (element - zero_point); of float32 they are 1 and 0.
    """

    name: str
    layout: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float = 1.0
    zero_point: int = 0

    def quantize(self, real: NDArray[np.float32]) -> Elements:
        """Finite numbers as the tensor's elements: to the nearest step, half to even, within the type."""
        return quantize(real, self)

    def dequantize(self, elements: Elements) -> NDArray[np.float32]:
        """The real numbers that the tensor's elements stand for."""
        return dequantize(elements, self)


class _Info(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("layout", ctypes.c_char_p),
        ("dtype", ctypes.c_int),
        ("rank", ctypes.c_uint32),
        ("shape", ctypes.c_int64 * 8),
        ("bytes", ctypes.c_size_t),
        ("scale", ctypes.c_float),
        ("zero_point", ctypes.c_int32),
    )


class _Data(ctypes.Structure):
    # `memory` stays 0, LWC_HOST: numpy's arrays.
    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("memory", ctypes.c_int))


class Context:
    """The memory and the threads of one run at a time. Python threads that share it take turns."""

    def __init__(self, model: "Model", threads: int) -> None:
        self._model = model
        self._handle = ctypes.c_void_p()
        self._lock = threading.Lock()
        if not 0 <= threads <= MAX_THREADS:
            raise BadInputError(f"{threads} threads: give a number from 0 to {MAX_THREADS}")
        model._check(model._function("create_context")(model._handle, threads, ctypes.byref(self._handle)))

    def run(self, *inputs: Elements) -> tuple[Elements, ...]:
        """The outputs for `inputs`, arrays of exactly the shapes and the dtype that the model states.

        Raises BadInputError for a wrong number, shape or dtype of arrays, or for NaN and infinity in them.
        """
        return self._run("run", inputs)

    def profile(self, *inputs: Elements) -> NDArray[np.uint64]:
        """How long each call of a kernel takes for `inputs`, in nanoseconds, in the order of the calls.

        Raises what `run` raises.
        """
        times = np.zeros(self._model._function("call_count")(self._model._handle), np.uint64)
        self._run("run_profiled", inputs, times.ctypes.data_as(ctypes.c_void_p), len(times))
        return times

    def _run(self, function: str, inputs: tuple[Elements, ...], *further: Any) -> tuple[Elements, ...]:
        model = self._model
        if len(inputs) != len(model.inputs):
            raise BadInputError(f"{model.name}: takes {len(model.inputs)} inputs, {len(inputs)} were given")
        for array, tensor in zip(inputs, model.inputs, strict=True):
            _check_input(array, tensor)
        dense = [np.ascontiguousarray(array) for array in inputs]
        outputs = tuple(np.empty(tensor.shape, tensor.dtype) for tensor in model.outputs)
        with self._lock:
            if not self._handle:
                raise BadInputError(f"{model.name}: the context is closed; create another one")
            run = model._function(function)
            tensors = (_data(dense), len(dense), _data(outputs), len(outputs))
            model._check(run(self._handle, *tensors, *further))
        return outputs

    def close(self) -> None:
        """Free memory and threads; a second time does nothing."""
        with self._lock:
            if self._handle:
                self._model._check(self._model._function("destroy_context")(self._handle))
                self._handle = ctypes.c_void_p()

    def __del__(self) -> None:
        # A child after fork() has none of the threads: there the library refuses.
        with suppress(LwcError):
            self.close()

    def __enter__(self) -> "Context":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Model:
    """A loaded package. `model(x)` runs it; for several runs at a time give each thread its own `context()`."""

    def __init__(self, library: ctypes.CDLL, name: str, threads: int) -> None:
        self.name = name
        self._library = library
        self._function("last_error").restype = ctypes.c_char_p
        self._handle = ctypes.c_void_p()
        self._check(self._function("open")(ctypes.byref(self._handle)))
        self.inputs = self._tensors("input")
        self.outputs = self._tensors("output")
        self._context = Context(self, threads)

    def __call__(self, *inputs: Elements) -> Any:
        """The output for `inputs`; a tuple where there are several."""
        outputs = self._context.run(*inputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def context(self, threads: int = 0) -> Context:
        """A further context with `threads` threads, the calling one included; 0: the package's default."""
        return Context(self, threads)

    def close(self) -> None:
        """Free the model's own context."""
        self._context.close()

    def _function(self, name: str) -> Any:
        try:
            return getattr(self._library, f"{self.name}_{name}")
        except AttributeError:
            raise BadInputError(
                f"lib{self.name}.so: has no {self.name}_{name}; compile the package again"
            ) from None

    def _tensors(self, kind: str) -> tuple[Tensor, ...]:
        tensors = []
        for index in range(self._function(f"{kind}_count")(self._handle)):
            info = _Info()
            self._check(self._function(f"{kind}_info")(self._handle, index, ctypes.byref(info)))
            name, layout, shape = info.name.decode(), info.layout.decode(), tuple(info.shape[: info.rank])
            tensors.append(Tensor(name, layout, shape, _DTYPES[info.dtype], info.scale, info.zero_point))
        return tuple(tensors)

    def _check(self, status: int) -> None:
        if status == 0:
            return
        text = self._function("last_error")().decode(errors="replace")
        # The codes are those of lwc_status in the package's header.
        errors: dict[int, type[LwcError]] = {
            9: ResourceError,
            10: UnsupportedError,
            11: VerificationError,
            12: ResourceError,
        }
        raise errors.get(status, BadInputError)(f"{self.name}: {text}")


def load(package: str | Path, threads: int = 0) -> Model:
    """The model in the folder `package`, its files checked against the manifest first.

    `threads`: of the model's own context, 1 to 256; 0: the package's default.
    Raises BadInputError for a folder that is not a package, VerificationError for a changed file,
    UnsupportedError for another machine's package, ResourceError where there is no GPU that a package for one needs.
    """
    folder = Path(package)
    name, files = _read_manifest(folder / _MANIFEST)
    library = b""
    for file, expected in files.items():
        content = read_regular(folder / file)
        if len(content) != expected.get("bytes") or hashlib.sha256(content).hexdigest() != expected.get(
            "sha256"
        ):
            raise VerificationError(f"{folder / file}: differs from the manifest; compile the package again")
        if file == f"lib{name}.so":
            library = content
    return Model(_open_library(library, folder, name), name, threads)


def _read_manifest(path: Path) -> tuple[str, dict[str, dict[str, object]]]:
    if not path.parent.is_dir():
        raise BadInputError(f"{path.parent}: is not a folder; give the one that `lwc compile` wrote")
    value = parse_json_object(read_regular(path, MAX_JSON_BYTES), str(path))
    name, files, version = value.get("name"), value.get("files"), value.get("schema_version")
    if version != 2 or isinstance(version, bool) or not isinstance(name, str) or not isinstance(files, dict):
        raise BadInputError(f"{path}: is not a manifest that this lwc reads; compile the package again")
    plain = all(Path(file).name == file and isinstance(entry, dict) for file, entry in files.items())
    if not name.isidentifier() or not plain or f"lib{name}.so" not in files:
        raise BadInputError(f"{path}: names files that a package does not have; compile the package again")
    return name, files


def _open_library(content: bytes, folder: Path, name: str) -> ctypes.CDLL:
    """The library from the bytes that were checked: the file in the package could have changed since."""
    with tempfile.NamedTemporaryFile(prefix="lwc-", suffix=".so") as copy:
        copy.write(content)
        copy.flush()
        try:
            return ctypes.CDLL(copy.name)
        except OSError as error:
            raise UnsupportedError(f"{folder}: lib{name}.so is for another machine ({error})") from None


def _check_input(array: Elements, tensor: Tensor) -> None:
    if not isinstance(array, np.ndarray):
        given = type(array).__name__
    elif array.dtype != tensor.dtype or array.shape != tensor.shape:
        given = f"{array.dtype} {array.shape}"
    else:
        return
    how = "" if tensor.dtype == "float32" else ", which its `quantize` makes of real numbers"
    raise BadInputError(
        f"input {tensor.name!r}: is {given}; give a {tensor.dtype} array of {tensor.shape}{how}"
    )


def _data(arrays: Sequence[Elements]) -> Any:
    # `array.ctypes` takes longer than the rest of a call together.
    pairs = [_Data(array.__array_interface__["data"][0], array.nbytes) for array in arrays]
    return (_Data * len(pairs))(*pairs)
