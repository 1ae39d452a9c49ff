"""The package's manifest: its schema, and reading it as a file that may be hostile.

Read by `lwc verify` and `lwc run`; `lwc.load` reads the same JSON by hand, to need no pydantic.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from lwc.errors import BadInputError, VerificationError
from lwc.files import MAX_JSON_BYTES, parse_json_object, read_regular
from lwc.models.preprocess import Preprocessing
from lwc.package.frozen import Count, Frozen
from lwc.package.pruning import Pruning
from lwc.package.quantization import Quantization
from lwc.targets.target import Target

SCHEMA_VERSION: Literal[2] = 2
MANIFEST_NAME = "manifest.json"
PROGRAM_NAME = "lwc-run"
# The CUDA C that a package's kernels are made from: for its reader, and to run them without a GPU.
DEVICE_SOURCE = "kernels.cu"

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,254}")

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Extent = Annotated[int, Field(ge=1, le=2**40)]
SampleKind = Literal["sample_input", "expected_output"]


class TensorInfo(Frozen):
    """An input or output: dense, row-major, in the order of `layout` ("NCHW", "N,classes").

    real number = scale (element - zero_point); of float32 they are 1 and 0.
    """

    name: Identifier
    dtype: Literal["float32", "uint8"]
    shape: Annotated[tuple[Extent, ...], Field(max_length=8)]
    layout: str
    scale: Annotated[float, Field(gt=0)] = 1.0
    zero_point: Annotated[int, Field(ge=0, le=255)] = 0


class FileInfo(Frozen):
    """What a file of the package must be, to the bit."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Count


class PassEntry(Frozen):
    """What one pass did: rewrites made, places where it found a reason not to rewrite, and what it decided where."""

    name: str
    count: Count
    refusals: Count
    notes: tuple[str, ...] = ()


class CallEntry(Frozen):
    """One call of a kernel: the model's own name of the layer (empty where not known), and what it has to do.

    `bytes` is the size of all operands, weights included.
    """

    kernel: str
    layer: str
    macs: Count
    bytes: Count


class OutputCheck(Frozen):
    """One output of the sample run against the float64 reference, as root mean squares.

    `rms_error` is the library's (None where it was not run), `rms_float32` PyTorch's own in float32, or in float16
    for a package in FP16; of integers, in steps of one. `deviation` is the standard deviation of the reference: near 0,
    agreement proves nothing.
    """

    name: Identifier
    rms_error: float | None
    rms_limit: float
    rms_float32: float
    deviation: float


class Verification(Frozen):
    """How the package was run when it was made, and what came out, an entry an output.

    The errors are over all `samples`: the stored one, and, where an output is small, variations of it.
    """

    how: Literal["native", "qemu", "qemu-static", "cuda", "emulated", "not run"]
    seed: int
    samples: Annotated[int, Field(ge=1)]
    outputs: tuple[OutputCheck, ...]


class Manifest(Frozen):
    """All that is known of a package.

    `macs` and `parameters` are of the model at its batch size, less what `pruning` removed; where it or `quantization`
    is not None, the expected output is the pruned or quantized model's. `weights_bytes` is the size of the constants
    in the library: parameters as the kernels want them, and tables computed from them; `memory_bytes` is what one
    context allocates, and `thread_bytes` what it allocates for each thread besides; `threads` 0 leaves the choice to
    the device. `tuned_layers` are the layers whose kernels tuning found, in place of the planned ones: an entry a
    kernel, empty where the layer's name is not known.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    name: Identifier
    source: str
    weights: Literal["pretrained", "random", "file"]
    inputs: Annotated[tuple[TensorInfo, ...], Field(min_length=1)]
    outputs: Annotated[tuple[TensorInfo, ...], Field(min_length=1)]
    preprocessing: Preprocessing | None
    labels: tuple[str, ...] | None
    target: Target
    tools: dict[str, str]
    passes: tuple[PassEntry, ...]
    calls: tuple[CallEntry, ...]
    tuned_layers: tuple[str, ...] = ()
    pruning: Pruning | None
    quantization: Quantization | None
    macs: Count
    parameters: Count
    weights_bytes: Count
    memory_bytes: Count
    thread_bytes: Count
    threads: Count
    verification: Verification
    files: dict[str, FileInfo]

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, FileInfo]) -> dict[str, FileInfo]:
        for name in files:
            if not _FILE_NAME.fullmatch(name) or name == MANIFEST_NAME:
                raise ValueError(f"{name!r} is not the plain name of a file in the package")
        return files

    @model_validator(mode="after")
    def _everything_is_listed(self) -> "Manifest":
        samples = [sample_name("sample_input", index) for index in range(len(self.inputs))]
        samples += [sample_name("expected_output", index) for index in range(len(self.outputs))]
        for name in (self.library, PROGRAM_NAME, *samples):
            if name not in self.files:
                raise ValueError(f"{name} is not in the list of files")
        if len(self.verification.outputs) != len(self.outputs):
            raise ValueError("verification does not cover the outputs")
        return self

    @property
    def library(self) -> str:
        """The name of the shared library's file."""
        return f"lib{self.name}.so"


def sample_name(kind: SampleKind, index: int) -> str:
    """The file of the sample's `index`-th input or output: the first one carries no number."""
    return f"{kind}_{index}.npy" if index else f"{kind}.npy"


def dump_manifest(manifest: Manifest) -> str:
    """The manifest's text: indented JSON, the same for the same manifest."""
    return json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n"


def read_manifest(package: Path) -> Manifest:
    """Reads and checks `package`/manifest.json; the files that it lists are `check_files`' task.

    Raises BadInputError where there is no package, or its manifest is malformed or of another version.
    """
    path = package / MANIFEST_NAME
    if not package.is_dir():
        what = "is not a folder" if package.exists() else "does not exist"
        raise BadInputError(f"{package}: {what}: give the folder that `lwc compile` wrote")
    text = read_regular(path, MAX_JSON_BYTES)
    # pydantic's own parser would let duplicate keys pass.
    _check_version(path, parse_json_object(text, str(path)))
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BadInputError(f"{path}: {_first_problem(error)}: compile the package again") from None


def open_package(package: Path) -> Manifest:
    """Reads `package`'s manifest and checks every file against it: what anything else may be done with it after.

    Raises what `read_manifest` and `check_files` raise.
    """
    manifest = read_manifest(package)
    check_files(package, manifest)
    return manifest


def hash_file(path: Path) -> FileInfo:
    """Size and SHA-256 of a file that lwc itself has just written."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileInfo(sha256=digest, bytes=path.stat().st_size)


def check_files(package: Path, manifest: Manifest) -> None:
    """Compares every listed file with its recorded size and SHA-256.

    Raises BadInputError for a missing or irregular file, VerificationError for a changed one.
    """
    for name, expected in manifest.files.items():
        path = package / name
        content = read_regular(path)
        if len(content) != expected.bytes:
            raise VerificationError(
                f"{path}: has {len(content)} bytes, not {expected.bytes}: compile it again"
            )
        if hashlib.sha256(content).hexdigest() != expected.sha256:
            raise VerificationError(
                f"{path}: differs from the hash in the manifest: compile the package again"
            )


def _check_version(path: Path, value: dict[str, Any]) -> None:
    """Names another version by its number, before its fields are looked at."""
    version = value.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise BadInputError(
            f"{path}: schema_version is {version!r:.40}, this lwc reads {SCHEMA_VERSION}: compile the package again"
        )


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}"[:200] if where else first["msg"][:200]
