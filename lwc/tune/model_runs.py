"""Whole models on a tuner's devices: how long each takes there, call by call."""

import json
from collections.abc import Sequence
from pathlib import Path

from lwc.errors import VerificationError
from lwc.layer_times import Run as RunModels
from lwc.layer_times import Turn
from lwc.package.parts import Parts
from lwc.tune.devices import Devices
from lwc.tune.job import Job, Run, printed, sample_file
from lwc.tune.measure import MALFORMED
from lwc.tune.trials import Refusal

# A model takes its time on a small device.
_SECONDS = 600.0


def model_runs(devices: Devices, runner: Path) -> RunModels:
    """Runs models on one of `devices`, one after another; raises DeviceError, and VerificationError where one fails."""

    def run(programs: Sequence[Parts], repeat: int) -> list[Turn]:
        threads = programs[0].threads
        runs = [Run(parts.scratch, _arguments(parts, repeat)) for parts in programs]
        (report,) = devices.run([Job(runs, threads, _SECONDS)], runner)
        if isinstance(report, Refusal):
            raise VerificationError(report.reason)
        return [
            _turn(parts, printed(ran, _SECONDS)) for parts, ran in zip(programs, report.runs, strict=True)
        ]

    return run


def _arguments(parts: Parts, repeat: int) -> tuple[str, ...]:
    words = ["--threads", str(parts.threads), "--repeat", str(repeat), "--profile"]
    for index, array in enumerate(parts.samples[0]):
        name = sample_file("input", 0, index)
        (parts.scratch / name).write_bytes(array.tobytes())
        words += ["--input", name]
    return tuple(words)


def _turn(parts: Parts, answer: str | Refusal) -> Turn:
    if isinstance(answer, Refusal):
        raise VerificationError(f"{parts.scratch.name} model: {answer.reason}; please report the model")
    try:
        whole, calls = map(json.loads, answer.splitlines())
        times = [1e-3 * float(nanoseconds) for nanoseconds in calls["calls_ns"]]
        median = 1e3 * float(whole["median_ms"])
    except MALFORMED:
        raise VerificationError(f"{parts.scratch.name} model: printed no times; please report it") from None
    if len(times) != len(parts.lowered.calls):
        raise VerificationError(f"{parts.scratch.name} model: printed times of other calls; please report it")
    return median, times
