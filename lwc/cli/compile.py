"""`lwc compile`: from a model's name to a package."""

import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from lwc.cli.model_options import model_options, pass_options
from lwc.cli.options import NewPath, json_option, target_option, threads_option
from lwc.models.request import ModelRequest
from lwc.targets.resolve import resolve_target

_EPILOG = """\
\b
Examples:
  lwc compile mobilenet_v1 --target arm64
  lwc compile mobilenet_v2 --width 0.35 --image-size 96 -o tiny
  lwc compile ./my-finetuned-model --target cortex-a76 --weights pretrained
  lwc compile my_package.models:make_net --passes default,-fuse-activation
  lwc compile mobilenet_v1 --prune 0.3 --evaluate labelled-images
  lwc compile mobilenet_v1 --precision int8 --calibrate my-images
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
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    default="fp32",
    show_default=True,
    help="int8: 8-bit integers, by ranges measured on --calibrate.",
)
@click.option(
    "--calibrate",
    metavar="DATA",
    help="Folder of about 100 images, .npy or .npz of inputs, or `synthetic`: what int8 ranges are measured on.",
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
    precision: str,
    calibrate: str | None,
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
        from lwc.driver import CompileRequest, compile_package
        from lwc.rewriting import PassOptions
    options = PassOptions(**passes, verify=verify_passes)
    # As may a factory.
    with redirect_stdout(sys.stderr):
        asked = CompileRequest(request, target, output, options, threads, evaluate, precision, calibrate)
        result = compile_package(asked, reporter)
    emit_summary(result, time.perf_counter() - start, as_json)
