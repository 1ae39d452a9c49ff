"""A model through all engines: what they need of it is made here, and what they give is compared."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lwc.bench.contest import hold
from lwc.bench.engines import ENGINES
from lwc.bench.results import Result, summarize
from lwc.bench.task import Task
from lwc.driver import CompileRequest, Reporter, compile_package
from lwc.files import one_line
from lwc.models.request import LoadedModel, ModelRequest
from lwc.package.reference import run_reference


@dataclass(frozen=True)
class BenchOptions:
    """The engines by name, the threads of each, and how many rounds of how many runs each gets."""

    engines: tuple[str, ...]
    threads: int
    rounds: int
    repeat: int


def bench(request: ModelRequest, options: BenchOptions, reporter: Reporter) -> list[Result]:
    """Latency of the model in each engine, interleaved; one that is missing or fails says why.

    Raises what compiling the model raises.
    """
    with tempfile.TemporaryDirectory(prefix="lwc-bench-") as folder:
        task = Task(request, Path(folder), options.threads)
        compile_package(CompileRequest(request, output=task.package, threads=options.threads), reporter)
        model = task.load()
        inputs = [tensor.numpy() for tensor in model.inputs]
        task.store_arrays(inputs)
        reference = run_reference(model.module, [tuple(inputs)]).float64
        out = _absent(options.engines)
        if any(ENGINES[name].needs_onnx for name in options.engines if name not in out):
            with reporter.stage("export"):
                out |= _export(model, task.onnx, options.engines)
        usable = {name: ENGINES[name] for name in options.engines if name not in out}
        with reporter.stage("bench"):
            entrants = hold(task, usable, options.rounds, options.repeat, reporter.note)
    measured = {r.engine: r for r in summarize(entrants, [np.squeeze(array, 0) for array in reference])}
    return [measured.get(name) or Result(name, "", failure=out[name]) for name in options.engines]


def _absent(names: tuple[str, ...]) -> dict[str, str]:
    """Why each engine whose packages are not installed takes no part."""
    missing = {name: ENGINES[name].missing() for name in names}
    return {name: f"not installed: {', '.join(modules)}" for name, modules in missing.items() if modules}


def _export(model: LoadedModel, path: Path, names: tuple[str, ...]) -> Mapping[str, str]:
    """Write the model as ONNX; where that fails, why each engine that needs it takes no part."""
    try:
        torch.onnx.export(model.module, model.inputs, str(path), dynamo=True, verbose=False)
    except Exception as error:
        reason = f"the model cannot be exported to ONNX ({type(error).__name__}: {one_line(error)})"
        return {name: reason for name in names if ENGINES[name].needs_onnx}
    return {}
