"""Latency beside ONNX Runtime: same weights, same input, same threads, rounds interleaved.

    python benchmarks/against_onnxruntime.py mobilenet_v1 --threads 2

Needs the extra `bench`. Prints the median and minimum of both in milliseconds, and the ratio of the medians.
"""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime
import torch
from timing import measure

import lwc
from lwc.models.load import load_model
from lwc.models.request import LoadedModel, ModelRequest


def export(model: LoadedModel, folder: Path) -> Path:
    """The model as ONNX."""
    path = folder / "model.onnx"
    # The exporter says which optional packages it does without.
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.module, model.inputs, str(path), dynamo=True, verbose=False)
    return path


def onnxruntime_session(path: Path, threads: int) -> Any:
    """A CPU session with `threads` threads and all optimisations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=20, show_default=True)
@click.option("--repeat", default=10, show_default=True, help="Runs of each in one round.")
def main(names: tuple[str, ...], threads: int, rounds: int, repeat: int) -> None:
    """Compare the models NAMES (of `lwc models`) with random weights."""
    for name in names:
        compare(name, threads, rounds, repeat)


def compare(name: str, threads: int, rounds: int, repeat: int) -> None:
    """Print a line for the model `name`."""
    model = load_model(ModelRequest(name, weights="random"), lambda message: None)
    inputs = [tensor.numpy() for tensor in model.inputs]
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime_session(export(model, Path(folder)), threads)
        package = Path(folder) / "package"
        lwc.compile(name, "native", package, weights="random")
        library = lwc.load(package, threads)
        feeds = {port.name: array for port, array in zip(session.get_inputs(), inputs, strict=True)}
        difference = np.abs(session.run(None, feeds)[0] - library(*inputs)).max()
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(rounds):
            theirs += measure(lambda: session.run(None, feeds), repeat)
            ours += measure(lambda: library(*inputs), repeat)
        library.close()
    a, b = float(np.median(ours)), float(np.median(theirs))
    print(
        f"{name}: lwc {a:.2f} (min {min(ours):.2f}), ONNX Runtime {onnxruntime.__version__} {b:.2f}"
        f" (min {min(theirs):.2f}), ratio {a / b:.2f}, {threads} threads, largest difference {difference:.1e}"
    )


if __name__ == "__main__":
    main()
