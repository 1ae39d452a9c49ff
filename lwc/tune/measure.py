"""Running built trials: how long each kernel takes, and whether it is right."""

import json
import resource
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lwc.errors import BadInputError, UnsupportedError, VerificationError
from lwc.package.manifest import PROGRAM_NAME
from lwc.package.reference import Reference, Sample
from lwc.package.steps import Elements
from lwc.package.verify import check_output, require_agreement
from lwc.tune.limits import lower_limit
from lwc.tune.trials import Built, Refusal
from lwc.tune.workers import memory_limit

RUN_SECONDS = 60.0


def time_copies(
    built: Built, threads: int, repeat: int, seconds: float = RUN_SECONDS
) -> tuple[float, ...] | Refusal:
    """Median microseconds of each copy over `repeat` runs, in which they take turns; the planned kernel first."""
    arguments = ["--repeat", str(repeat), "--profile"]
    done = _run(built, built.samples[0], threads, arguments, seconds)
    if isinstance(done, Refusal):
        return done
    try:
        _, calls = map(json.loads, done.splitlines())
        nanoseconds = np.array(calls["calls_ns"], np.float64).reshape(len(built.copies))
    except (ValueError, KeyError, TypeError):
        return Refusal("the program printed no times")
    owners = np.array(built.copies)
    sums = [1e-3 * float(nanoseconds[owners == own].sum()) for own in range(1 + max(built.copies))]
    return tuple(sums) if all(np.isfinite(sums)) and min(sums) > 0 else Refusal("a time is no number")


def check_copies(built: Built, threads: int, seconds: float = RUN_SECONDS) -> tuple[str, ...] | Refusal:
    """For each copy what is wrong with its results, beside PyTorch's; empty where they are right, or not checked."""
    if built.reference is None:
        return ("",) * len(built.interface.outputs)
    results = []
    for sample in built.samples:
        outputs = _outputs(built, sample, threads, seconds)
        if isinstance(outputs, Refusal):
            return outputs
        results.append(outputs)
    try:
        return tuple(
            _wrong(built.reference, index, given) for index, given in enumerate(zip(*results, strict=True))
        )
    except (BadInputError, UnsupportedError) as error:
        return Refusal(f"PyTorch's results are no measure: {error}")


def _outputs(built: Built, sample: Sample, threads: int, seconds: float) -> list[Elements] | Refusal:
    with tempfile.TemporaryDirectory(prefix="lwc-check-") as folder:
        paths = [Path(folder) / f"output_{index}" for index in range(len(built.interface.outputs))]
        named = [word for path in paths for word in ("--output", str(path))]
        done = _run(built, sample, threads, named, seconds)
        if isinstance(done, Refusal):
            return done
        if not all(path.is_file() for path in paths):
            return Refusal("the program wrote no results")
        return [np.fromfile(path, np.float32) for path in paths]


def _wrong(reference: Reference, index: int, outputs: Sequence[Elements]) -> str:
    double, single = reference.float64[index], reference.float32[index]
    if any(output.size * len(outputs) != double.size for output in outputs):
        return "gives another number of results"
    try:
        check = check_output("result", np.stack(outputs).reshape(double.shape), double, single)
        require_agreement([check], "the kernel")
    except VerificationError as error:
        return str(error)
    return ""


def _run(
    built: Built, sample: Sample, threads: int, arguments: Sequence[str], seconds: float
) -> str | Refusal:
    command = [str(built.folder / PROGRAM_NAME), "--threads", str(threads), *arguments]
    for index, array in enumerate(sample):
        path = built.folder / f"input_{index}"
        path.write_bytes(array.tobytes())
        command += ["--input", str(path)]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return Refusal(f"cannot be run ({error.strerror}); is the temporary folder mounted noexec?")
    with process:
        try:
            # So that what computes for ever ends even where the tuner is killed.
            lower_limit(process.pid, resource.RLIMIT_CPU, int(seconds * 2 * threads) + 1)
            lower_limit(process.pid, resource.RLIMIT_DATA, memory_limit(1))
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return Refusal(f"did not end within {seconds:.0f} s")
        except ProcessLookupError:
            return Refusal("ended at once")
        finally:
            process.kill()
    code = process.returncode
    if code == 0:
        return printed
    return Refusal(f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}")
