"""`lwc bench`: latency beside other engines."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwc.bench.engines import ENGINES, LWC
from lwc.cli.int8_options import int8_options
from lwc.cli.model_options import several_models_options
from lwc.cli.options import NewPath, threads_option
from lwc.cli.output import emit, emit_json
from lwc.cli.save import check_place, save_file
from lwc.errors import UsageError
from lwc.models.request import ModelRequest

if TYPE_CHECKING:
    from lwc.bench.results import Result

_STDOUT = Path("-")

_EPILOG = """\
\b
Examples:
  lwc bench mobilenet_v1 mobilenet_v2 --threads 2
  lwc bench levit_128s --against openvino,onnxruntime --json levit.json
  lwc bench mobilenet_v2 --precision int8 --calibrate my-images

The other engines come with `pip install 'lwc[bench]'`, LiteRT's converter with `pip install litert-torch`.
"""


@click.command(epilog=_EPILOG)
@several_models_options
@click.option(
    "--against",
    default="all",
    show_default=True,
    metavar="all|NAME,...",
    help="The other engines.",
)
@int8_options
@threads_option
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    metavar="N",
    help="Turns of each engine.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    metavar="N",
    help="Runs in one turn.",
)
@click.option(
    "--json", "json_file", type=NewPath(), metavar="FILE", help="Write all figures here; - is stdout."
)
def command(
    requests: tuple[ModelRequest, ...],
    against: str,
    precision: str | None,
    calibrate: str | None,
    observer: str | None,
    threads: int,
    rounds: int,
    repeat: int,
    json_file: Path | None,
) -> None:
    """Measure each MODEL compiled by lwc for this machine, side by side with other engines.

    All get the same weights, input and number of threads, each in a process of its own. They take turns, so that
    what else the machine does hits all alike, and their outputs are compared with PyTorch's in float64.
    A ratio below 1 means that lwc is faster.
    For int8 each engine quantizes by its own means, on the same samples: synthetic ones without --calibrate.
    --observer is lwc's.
    """
    names = _engine_names(against)
    if json_file not in (None, _STDOUT):
        check_place(json_file)
    from lwc.cli.progress import PlainConsole, StageReporter

    reporter = StageReporter(PlainConsole())
    with reporter.live("start"):
        from lwc.bench.machine import this_machine
        from lwc.bench.run import BenchOptions, bench
        from lwc.cli.bench_report import results_document, results_text
        from lwc.quantize.data import SYNTHETIC
    machine = this_machine(threads)
    precision = precision or "fp32"
    data = (calibrate or SYNTHETIC) if precision == "int8" else calibrate
    options = BenchOptions(names, machine.threads, rounds, repeat, precision, data, observer)
    results: list[tuple[ModelRequest, list[Result]]] = []
    for request in requests:
        # A factory of the user's may print; stdout is for the result.
        with redirect_stdout(sys.stderr):
            results.append((request, bench(request, options, reporter)))
        if json_file != _STDOUT:
            emit(results_text(request.model, results[-1][1], machine))
            # After each model: what was measured stays, whatever the next one does.
            _save(json_file, results_document(results, machine, options))
    if json_file == _STDOUT:
        emit_json(results_document(results, machine, options))


def _save(path: Path | None, document: dict[str, Any]) -> None:
    if path is not None:
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        save_file(path, "--json", lambda file: file.write(text.encode()))


def _engine_names(against: str) -> tuple[str, ...]:
    """lwc and the engines asked for. Raises UsageError for an unknown one."""
    others = [name for name in ENGINES if name != LWC]
    asked = others if against == "all" else [name.strip() for name in against.split(",")]
    for name in asked:
        if name not in others:
            raise UsageError(f"engine {name[:60]!r}: unknown; choose from all, {', '.join(others)}")
    return (LWC, *dict.fromkeys(asked))
