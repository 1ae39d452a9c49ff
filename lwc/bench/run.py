"""A model through all engines: what they need of it is made here, and what they give is compared."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lwc.bench.contest import hold
from lwc.bench.engines import ENGINES
from lwc.bench.results import MAX_ERROR, Result, summarize
from lwc.bench.task import Task
from lwc.compile_request import CompileRequest
from lwc.driver import compile_package
from lwc.files import one_line
from lwc.models.request import LoadedModel, ModelRequest
from lwc.package.reference import run_reference
from lwc.quantize.data import read_calibration
from lwc.reporter import Reporter


@dataclass(frozen=True)
class BenchOptions:
    """The engines by name, the threads of each, and how many rounds of how many runs each gets.

    `calibrate`: what `read_calibration` takes, and `observer`: how lwc finds ranges, for INT8.
    """

    engines: tuple[str, ...]
    threads: int
    rounds: int
    repeat: int
    precision: str = "fp32"
    calibrate: str | None = None
    observer: str | None = None


def bench(request: ModelRequest, options: BenchOptions, reporter: Reporter) -> list[Result]:
    """Latency of the model in each engine, interleaved; one that is missing or fails says why.

    Raises what compiling the model raises.
    """
    with tempfile.TemporaryDirectory(prefix="lwc-bench-") as folder:
        task = Task(request, Path(folder), options.threads, options.precision)
        asked = CompileRequest(
            request,
            output=task.package,
            threads=options.threads,
            precision=options.precision,
            calibrate=options.calibrate,
            observer=options.observer,
            tune="none",
        )
        compile_package(asked, reporter)
        model = task.load()
        inputs = [tensor.numpy() for tensor in model.inputs]
        if options.calibrate is not None:
            # The compilation has warned already.
            data = read_calibration(options.calibrate, model, request.seed, lambda message: None)
            samples = [[tensor.numpy() for tensor in sample] for sample in data.samples]
            task.store_calibration(samples)
            # Outside of the ranges that were measured, no engine would be right.
            inputs = samples[0]
        task.store_arrays(inputs)
        reference = run_reference(model.module, [tuple(inputs)]).float64
        out = _absent(options.engines, options.precision)
        if any(ENGINES[name].needs_onnx for name in options.engines if name not in out):
            with reporter.stage("export"):
                out |= _export(model, task.onnx, options.engines)
        usable = {name: ENGINES[name] for name in options.engines if name not in out}
        with reporter.stage("bench"):
            entrants = hold(task, usable, options.rounds, options.repeat, reporter.note)
    exact = [np.squeeze(array, 0) for array in reference]
    measured = {r.engine: r for r in summarize(entrants, exact, MAX_ERROR[options.precision])}
    return [measured.get(name) or Result(name, "", failure=out[name]) for name in options.engines]


def _absent(names: tuple[str, ...], precision: str) -> dict[str, str]:
    """Why each engine that cannot be asked takes no part."""
    reasons = {name: ENGINES[name].absence(precision) for name in names}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _export(model: LoadedModel, path: Path, names: tuple[str, ...]) -> Mapping[str, str]:
    """Write the model as ONNX; where that fails, why each engine that needs it takes no part."""
    try:
        torch.onnx.export(
            model.module, model.inputs, str(path), dynamo=True, verbose=False, external_data=False
        )
    except Exception as error:
        reason = f"the model cannot be exported to ONNX ({type(error).__name__}: {one_line(error)})"
        return {name: reason for name in names if ENGINES[name].needs_onnx}
    return {}
