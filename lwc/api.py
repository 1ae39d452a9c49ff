"""Compiling from Python."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from lwc.compile_request import CompileRequest
from lwc.driver import CompileResult, compile_package
from lwc.models.request import ModelRequest
from lwc.pipeline import Pipeline
from lwc.rewriting import PassOptions


class _Quiet:
    """A reporter that turns warnings into Python's."""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        yield

    def note(self, text: str) -> None:
        pass

    def warn(self, message: str) -> None:
        warnings.warn(message, stacklevel=2)


def compile(
    model: str,
    target: str = "native",
    output: str | Path | None = None,
    *,
    width: float | None = None,
    image_size: int | None = None,
    output_stride: int | None = None,
    num_labels: int | None = None,
    batch: int = 1,
    weights: str = "auto",
    seed: int = 0,
    passes: str | Pipeline = "default",
    threads: int = 0,
    prune: float | None = None,
    evaluate: str | Path | None = None,
    precision: str | None = None,
    calibrate: str | Path | None = None,
    observer: str | None = None,
    accuracy_budget: float | None = None,
    io: str = "float32",
    tune: str = "records",
) -> CompileResult:
    """Compile `model` as `lwc compile` does, with the same names and meanings of the options.

    `passes` is the text form of a pipeline, or one made in Python:
    `Pipeline.parse("default").insert_after("fold-batch-norm", MyPass())`.

    `prune` is the part of the channels to remove, `evaluate` a folder of labelled images; the result's `evaluation`
    says how often the model is right on these, before and after.

    `precision` "int8" computes on 8-bit integers, by ranges measured on `calibrate`: a folder of about 100 images, a
    .npy or .npz file of inputs, or "synthetic". `observer` says how an activation's range is found: "minmax",
    "moving-average", "percentile" or "mse", which is the default. `accuracy_budget` 0.01 puts layers back to float32
    until the top-1 on `evaluate` is at most 0.01 below that of float32. With `io` "int8" the package's inputs and
    outputs are 8-bit integers, too, each with a scale and a zero point. A model that is quantized already keeps its
    ranges; it needs none of these.

    `tune` "records" takes the kernels that tuning found on this machine, with this target and number of threads, "none"
    the planned ones; "quick", "normal" and "full" tune first, for some minutes up to hours.

    Raises the errors of `lwc.errors`; a warning of the command line is a Python warning here.
    """
    request = CompileRequest(
        ModelRequest(model, width, image_size, output_stride, num_labels, batch, weights, seed),
        target,
        None if output is None else Path(output),
        PassOptions(passes, prune=prune),
        threads,
        None if evaluate is None else Path(evaluate),
        precision,
        None if calibrate is None else str(calibrate),
        observer,
        accuracy_budget,
        io,
        tune,
    )
    return compile_package(request, _Quiet())
