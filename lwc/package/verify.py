"""Whether a library gives what PyTorch gives: against a float64 run, with PyTorch's own float32 run as the measure."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lwc.errors import BadInputError, UnsupportedError, VerificationError
from lwc.files import read_regular
from lwc.oracle import ALLOWANCE, FACTOR
from lwc.package.execute import run_program
from lwc.package.manifest import (
    PROGRAM_NAME,
    Manifest,
    OutputCheck,
    SampleKind,
    TensorInfo,
    Verification,
    open_package,
    sample_name,
)
from lwc.package.run import package_runner
from lwc.package.steps import Elements

# What PyTorch's own error may be, in parts of the output, by its precision: a random model has more.
UNSTABLE = {"float32": 0.01, "float16": 0.2}


def root_mean_square(values: NDArray[np.generic]) -> float:
    """The root of the mean of the squares, in float64; NaN where a value is not finite."""
    doubles = values.astype(np.float64)
    return float(np.sqrt(np.mean(doubles * doubles))) if np.isfinite(doubles).all() else float("nan")


def check_output(
    name: str,
    actual: Elements | None,
    double: NDArray[np.float64],
    single: NDArray[np.float32],
    slack: float | None = None,
    precision: str = "float32",
) -> OutputCheck:
    """The errors of one output; `actual` is None where the library was not run, `slack` where nothing is quantized.

    `precision` is that in which PyTorch computed `single`.

    Raises VerificationError where the library gives another shape, NaN or infinity, BadInputError where PyTorch does,
    UnsupportedError where PyTorch's two runs differ too much to be a measure.
    """
    if not (np.isfinite(double).all() and np.isfinite(single).all()):
        raise BadInputError(
            f"output {name!r}: PyTorch gives NaN or infinity for the sample; check the weights"
        )
    if actual is not None and actual.shape != double.shape:
        shapes = f"has the shape {actual.shape[1:]}, PyTorch's has {double.shape[1:]}"
        raise VerificationError(f"output {name!r}: {shapes}; please report the model")
    if actual is not None and not np.isfinite(actual).all():
        raise VerificationError(
            f"output {name!r}: holds NaN or infinity, unlike PyTorch's; please report the model"
        )
    own = root_mean_square(single - double)
    if slack is None and own > UNSTABLE[precision] * root_mean_square(double) + ALLOWANCE:
        raise UnsupportedError(
            f"output {name!r}: PyTorch in {precision} and in float64 differ by {own:.3g};"
            " remove what is random or unstable"
        )
    return OutputCheck(
        name=name,
        rms_error=None if actual is None else root_mean_square(actual - double),
        rms_limit=FACTOR * own + ALLOWANCE + (slack or 0.0),
        rms_float32=own,
        deviation=float(np.std(double)),
    )


def require_agreement(outputs: Sequence[OutputCheck], what: str) -> None:
    """Raises VerificationError for the first output whose error is above its limit, or not a number."""
    for output in outputs:
        if output.rms_error is not None and not output.rms_error <= output.rms_limit:
            raise VerificationError(
                f"{what}: output {output.name!r} differs from PyTorch by {output.rms_error:.3g} (root mean square),"
                f" more than {output.rms_limit:.3g}; please report the model"
            )


def verify_package(package: Path) -> Verification:
    """Run the package's stored sample and compare it with the stored expected output.

    Raises VerificationError where they disagree or a file was changed, BadInputError for a malformed package,
    ResourceError where this machine cannot run it.
    """
    manifest = open_package(package)
    samples = [_read_sample(package, "sample_input", i, info) for i, info in enumerate(manifest.inputs)]
    with package_runner(package, manifest) as runner:
        results = run_program(runner, package / PROGRAM_NAME, manifest, samples)
    # All samples together are within the limit; one alone can be further away, by this much.
    factor = manifest.verification.samples**0.5
    outputs = tuple(
        known.model_copy(
            update={
                "rms_error": root_mean_square(given - _expected(package, i, manifest)),
                "rms_limit": factor * known.rms_limit,
            }
        )
        for i, (known, given) in enumerate(zip(manifest.verification.outputs, results, strict=True))
    )
    require_agreement(outputs, str(package))
    return manifest.verification.model_copy(update={"how": runner.how, "outputs": outputs})


def _expected(package: Path, index: int, manifest: Manifest) -> NDArray[np.float64]:
    return _read_sample(package, "expected_output", index, manifest.outputs[index]).astype(np.float64)


def _read_sample(package: Path, kind: SampleKind, index: int, info: TensorInfo) -> Elements:
    """A stored tensor. Raises BadInputError where it is not an array of the manifest's type and shape."""
    path = package / sample_name(kind, index)
    content = io.BytesIO(read_regular(path))
    try:
        array = np.lib.format.read_array(content, allow_pickle=False)
    # numpy parses the header as Python source, which raises nearly anything on a damaged one.
    except Exception:
        raise BadInputError(f"{path}: is not an array in numpy's format; compile the package again") from None
    if array.dtype != info.dtype or array.shape != info.shape:
        raise BadInputError(
            f"{path}: is {array.dtype} {array.shape}, not {info.dtype} {info.shape}; compile it again"
        )
    return np.asarray(array)
