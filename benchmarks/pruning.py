"""What pruning by magnitude costs in accuracy and gains in size and time, rounds interleaved.

    python benchmarks/pruning.py ./mobilenet_v1_0.5_160 evaluation 0.05 0.1 0.3

Prints a line for each fraction: how often the model is right, the package's size, multiply-adds, and the latency
beside that of the model as it is.
"""

import tempfile
from functools import partial
from pathlib import Path

import click
import numpy as np

import lwc
from lwc.bench.timing import measure
from lwc.cli.units import short_bytes, short_count
from lwc.driver import CompileResult
from lwc.pipeline import Pipeline
from lwc.prepare import Evaluation


@click.command()
@click.argument("model")
@click.argument("images", type=click.Path(exists=True, path_type=Path))
@click.argument("fractions", nargs=-1, type=float, required=True)
@click.option(
    "--multiple", default=0, show_default=True, help="Channels stay in multiples of it; 0: vectors."
)
@click.option("--threads", default=1, show_default=True)
@click.option("--rounds", default=20, show_default=True)
@click.option("--repeat", default=20, show_default=True, help="Runs of each in one round.")
def main(
    model: str,
    images: Path,
    fractions: tuple[float, ...],
    multiple: int,
    threads: int,
    rounds: int,
    repeat: int,
) -> None:
    """Compare MODEL with itself without FRACTIONS of its channels, on labelled IMAGES (as `--evaluate` takes them)."""
    with tempfile.TemporaryDirectory() as folder:
        results = {}
        for fraction in (0.0, *fractions):
            # As --prune does, but with the multiple.
            pruning = f"zero-channels{{fraction={fraction},multiple={multiple}}}"
            passes = Pipeline.parse("default", [f"{pruning},before=prune-channels"] if fraction else [])
            results[fraction] = lwc.compile(
                model, "native", Path(folder) / f"package{fraction}", passes=passes, evaluate=images
            )
        times = latencies(results, threads, rounds, repeat)
    print("pruned  top-1   top-5   package   MACs     latency")
    for fraction, result in results.items():
        top1, top5 = accuracy(result.evaluation)
        size = short_bytes(sum(file.bytes for file in result.manifest.files.values()))
        macs, ratio = short_count(result.manifest.macs), times[fraction] / times[0.0]
        print(f"{fraction:<7g} {top1:5.1%}   {top5:5.1%}   {size:9} {macs:8} {ratio:.2f}")


def latencies(
    results: dict[float, CompileResult], threads: int, rounds: int, repeat: int
) -> dict[float, float]:
    """The median milliseconds of each package."""
    libraries = {fraction: lwc.load(result.package, threads) for fraction, result in results.items()}
    times: dict[float, list[float]] = {fraction: [] for fraction in results}
    for _ in range(rounds):
        for fraction, library in libraries.items():
            sample = np.load(results[fraction].package / "sample_input.npy")
            times[fraction] += measure(partial(library, sample), repeat)
    for library in libraries.values():
        library.close()
    return {fraction: float(np.median(values)) for fraction, values in times.items()}


def accuracy(evaluation: Evaluation | None) -> tuple[float, float]:
    """Top-1 and top-5 of the package's model."""
    assert evaluation is not None
    found = evaluation.pruned or evaluation.original
    assert found.top1 is not None
    assert found.top5 is not None
    return found.top1 / found.images, found.top5 / found.images


if __name__ == "__main__":
    main()
