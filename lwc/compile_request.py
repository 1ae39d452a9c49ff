"""What `lwc compile` is asked for, and whether it fits together."""

from dataclasses import dataclass, field
from pathlib import Path

from lwc.errors import UsageError
from lwc.models.request import ModelRequest
from lwc.quantize.choices import IO, OBSERVERS, PRECISIONS
from lwc.rewriting import PassOptions
from lwc.tune.effort import TUNE

_NEEDS_DATA = (
    "precision int8: needs data to measure ranges on; give --calibrate a folder of about 100 images,"
    " a .npy or .npz file, or `synthetic`"
)


@dataclass(frozen=True)
class CompileRequest:
    """What to compile, for which machine, and where to.

    `output` None: MODEL-TARGET/ in the current folder, MODEL-int8-TARGET/ for `precision` int8; `threads` 0: the
    device decides; `evaluate`: a folder of labelled images on which the model is to be tried, before and after pruning
    and quantizing; `precision` fp16 is for GPUs, None: fp32, or int8 for a model that is quantized already, which
    keeps its ranges; `calibrate`: what `read_calibration` takes, and `observer`: how ranges are found (None:
    DEFAULT_OBSERVER), for int8 of any other model; `accuracy_budget`: by how much, as a share of these images, the
    top-1 of int8 may be below that of float32; `io` int8: integers as inputs and outputs; `tune`: one of TUNE. Raises
    UsageError where they do not fit together.
    """

    model: ModelRequest
    target: str = "native"
    output: Path | None = None
    passes: PassOptions = field(default_factory=PassOptions)
    threads: int = 0
    evaluate: Path | None = None
    precision: str | None = None
    calibrate: str | None = None
    observer: str | None = None
    accuracy_budget: float | None = None
    io: str = "float32"
    tune: str = "records"

    def __post_init__(self) -> None:
        _check_known("precision", self.precision, PRECISIONS)
        _check_known("observer", self.observer, OBSERVERS)
        _check_known("io", self.io, IO)
        _check_known("tune", self.tune, TUNE)
        if self.precision == "int8" and self.calibrate is None and not _may_be_quantized(self.model.model):
            raise UsageError(_NEEDS_DATA)
        if self.precision != "int8" and self.calibrate is not None:
            raise UsageError(
                "--calibrate: measures the ranges of INT8; add --precision int8, or leave it out"
            )
        if self.precision != "int8" and self.observer is not None:
            raise UsageError("--observer: finds the ranges of INT8; add --precision int8, or leave it out")
        if self.precision != "int8" and self.io == "int8":
            raise UsageError(
                "--io int8: gives the integers of INT8 to the caller; add --precision int8, or leave it out"
            )
        if self.accuracy_budget is not None:
            self._check_budget(self.accuracy_budget)

    def _check_budget(self, budget: float) -> None:
        if not 0 <= budget < 1:
            raise UsageError(
                f"accuracy budget {budget}: out of range; give a share of the images, 0 or more and below 1"
            )
        if self.precision != "int8":
            raise UsageError("--accuracy-budget: is for INT8; add --precision int8, or leave it out")
        if self.evaluate is None:
            raise UsageError(
                "--accuracy-budget: needs labelled images to measure the accuracy on; give --evaluate a folder of them"
            )


def _check_known(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value not in (None, *known):
        raise UsageError(f"{name} {value!r}: unknown; choose from {', '.join(known)}")


def _may_be_quantized(model: str) -> bool:
    """Whether the model of this name may bring quantize and dequantize nodes."""
    return model.endswith(".pt2") or ":" in model


def chosen_precision(request: CompileRequest, quantized: bool) -> str:
    """One of PRECISIONS, for a model that is `quantized` already or not.

    Raises UsageError where what is asked does not fit the model.
    """
    if not quantized:
        if request.precision == "int8" and request.calibrate is None:
            raise UsageError(_NEEDS_DATA)
        return request.precision or "fp32"
    already = "the model is quantized already"
    if request.precision in ("fp32", "fp16"):
        hint = "leave --precision out, or give the model in float32"
        raise UsageError(f"precision {request.precision}: {already}; {hint}")
    if request.calibrate is not None:
        raise UsageError(f"--calibrate: {already}, and keeps its ranges; leave it out")
    if request.observer is not None:
        raise UsageError(f"--observer: {already}, and keeps its ranges; leave it out")
    if request.accuracy_budget is not None:
        raise UsageError(f"--accuracy-budget: {already}; leave it out, or give the model in float32")
    if request.io == "int8":
        raise UsageError(f"--io int8: {already}, and keeps what is at its border; leave it out")
    if request.passes.prune is not None:
        raise UsageError(f"--prune: {already}; prune it before it is quantized")
    return "int8"
