"""`lwc compile`: from a model's name to a package."""

import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from lwc.cli.int8_options import int8_options
from lwc.cli.model_options import model_options, pass_options
from lwc.cli.options import NewPath, json_option, target_option, threads_option
from lwc.models.request import ModelRequest
from lwc.targets.resolve import resolve_target
from lwc.tune.effort import TUNE

_EPILOG = """\
\b
Examples:
  lwc compile mobilenet_v1 --target arm64
  lwc compile mobilenet_v2 --width 0.35 --image-size 96 -o tiny
  lwc compile ./my-finetuned-model --target cortex-a76 --weights pretrained
  lwc compile my_package.models:make_net --passes default,-fuse-activation
  lwc compile mobilenet_v1 --prune 0.3 --evaluate labelled-images
  lwc compile mobilenet_v1 --precision int8 --calibrate my-images
  lwc compile mobilenet_v1 --precision int8 --calibrate my-images --evaluate labelled-images --accuracy-budget 0.01
  lwc compile mobilenet_v1 --precision int8 --calibrate my-images --io int8
  lwc compile quantized.pt2
  lwc compile mobilenet_v1 --tune quick
  lwc compile mobilenet_v1 --pass my_pass.py:MyPass,after=fold-batch-norm
"""


@click.command(epilog=_EPILOG)
@model_options
@target_option
@click.option("-o", "--output", type=NewPath(), help="Folder of the package.  [default: MODEL-TARGET]")
@pass_options
@click.option(
    "--verify-passes/--no-verify-passes",
    default=True,
    show_default=True,
    help="Run the graph before and after each pass, in float64.",
)
@click.option(
    "--evaluate",
    type=NewPath(),
    metavar="DIR",
    help="Folder of images with labels.csv (columns file, label): report how often the model is right.",
)
@int8_options
@click.option(
    "--accuracy-budget",
    type=float,
    metavar="FRACTION",
    help="By how much the top-1 of int8 on --evaluate may fall, such as 0.01: layers go back to float32 for it.",
)
@click.option(
    "--io",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="int8: the package's inputs and outputs are 8-bit integers, each with its scale and zero point.",
)
@click.option(
    "--tune",
    type=click.Choice(TUNE),
    default="records",
    show_default=True,
    help="Kernels that `lwc tune` found on this machine, or the planned ones (none), or tune first, for minutes.",
)
@threads_option
@json_option
def command(
    request: ModelRequest,
    target: str,
    output: Path | None,
    passes: dict[str, Any],
    verify_passes: bool,
    evaluate: Path | None,
    precision: str | None,
    calibrate: str | None,
    observer: str | None,
    accuracy_budget: float | None,
    io: str,
    tune: str,
    threads: int,
    as_json: bool,
) -> None:
    """Compile MODEL into a folder with a shared library, its header and a verified sample.

    \b
    MODEL is one of:
      a name from `lwc models`
      a Hugging Face id, or a folder with config.json and model.safetensors
      a .pt2 file of torch.export
      package.module:factory, a callable that returns (module, example_inputs)
    """
    start = time.perf_counter()
    # Before the seconds that the next imports take. A package of the user's may print; stdout is for the result.
    with redirect_stdout(sys.stderr):
        resolve_target(target)
    from lwc.cli.progress import PlainConsole, StageReporter

    reporter = StageReporter(PlainConsole())
    with reporter.live("start"):
        from lwc.cli.summary import emit_summary
        from lwc.compile_request import CompileRequest
        from lwc.driver import compile_package
        from lwc.rewriting import PassOptions
    options = PassOptions(**passes, verify=verify_passes)
    # As may a factory.
    with redirect_stdout(sys.stderr):
        asked = CompileRequest(
            request,
            target,
            output,
            options,
            threads,
            evaluate,
            precision,
            calibrate,
            observer,
            accuracy_budget,
            io,
            tune,
        )
        result = compile_package(asked, reporter)
    emit_summary(result, time.perf_counter() - start, as_json)
