"""Latency of a model under several pipelines: same weights, same input, same threads, rounds interleaved.

    python benchmarks/pipelines.py mobilenet_v2 --without fuse-residual-add

Prints the median of each in milliseconds, and the ratio of the default pipeline's to that without a pass.
"""

import tempfile
from functools import partial
from pathlib import Path

import click
import numpy as np

import lwc
from lwc.bench.timing import measure
from lwc.models.load import load_model
from lwc.models.request import ModelRequest


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--without", "left_out", multiple=True, required=True, help="A pass to leave out.")
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=20, show_default=True)
@click.option("--repeat", default=10, show_default=True, help="Runs of each in one round.")
def main(names: tuple[str, ...], left_out: tuple[str, ...], threads: int, rounds: int, repeat: int) -> None:
    """Compare the models NAMES (of `lwc models`) with random weights, with and without each pass."""
    for name in names:
        compare(name, left_out, threads, rounds, repeat)


def compare(name: str, left_out: tuple[str, ...], threads: int, rounds: int, repeat: int) -> None:
    """Print a line for each pass that is left out of the model `name`'s pipeline."""
    inputs = [tensor.numpy() for tensor in load_model(ModelRequest(name, weights="random"), print).inputs]
    pipelines = {"": "default"} | {passed: f"default,-{passed}" for passed in left_out}
    with tempfile.TemporaryDirectory() as folder:
        libraries = {}
        for passed, pipeline in pipelines.items():
            package = Path(folder) / f"package{passed}"
            lwc.compile(name, "native", package, weights="random", passes=pipeline)
            libraries[passed] = lwc.load(package, threads)
        times: dict[str, list[float]] = {passed: [] for passed in pipelines}
        for _ in range(rounds):
            for passed, library in libraries.items():
                times[passed] += measure(partial(library, *inputs), repeat)
        for library in libraries.values():
            library.close()
    medians = {passed: float(np.median(values)) for passed, values in times.items()}
    for passed in left_out:
        print(
            f"{name}: {medians['']:.2f} ms, without {passed} {medians[passed]:.2f} ms,"
            f" ratio {medians[''] / medians[passed]:.3f}, {threads} threads"
        )


if __name__ == "__main__":
    main()
