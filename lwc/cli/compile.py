"""`lwc compile`: from a model's name to a package."""

import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import click

from lwc.cli.options import NewPath, json_option, threads_option
from lwc.targets.resolve import resolve_target

_EPILOG = """\
\b
Examples:
  lwc compile mobilenet_v1 --target arm64
  lwc compile mobilenet_v2 --width 0.35 --image-size 96 -o tiny
  lwc compile ./my-finetuned-model --target cortex-a76 --weights pretrained
  lwc compile my_package.models:make_net --passes default,-fuse-activation
"""


@click.command(epilog=_EPILOG)
@click.argument("model")
@click.option(
    "--target",
    default="native",
    show_default=True,
    metavar="TARGET",
    help="What to compile for: a name (see `lwc targets`), or triple=...,cpu=...,features=a+b.",
)
@click.option("-o", "--output", type=NewPath(), help="Folder of the package.  [default: MODEL-TARGET]")
@click.option("--width", type=float, metavar="FACTOR", help="Depth multiplier of a MobileNet.")
@click.option("--image-size", type=int, metavar="N", help="Height and width of the input, in pixels.")
@click.option("--output-stride", type=int, metavar="N", help="Input pixels per output pixel: 8, 16 or 32.")
@click.option("--num-labels", type=int, metavar="N", help="Number of classes.")
@click.option("--batch", type=int, default=1, show_default=True, metavar="N", help="Images in one run.")
@click.option(
    "--weights",
    default="auto",
    show_default=True,
    metavar="auto|pretrained|random|PATH",
    help="auto: pretrained, or random where they cannot be had.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Of random weights and samples."
)
@click.option(
    "--passes",
    default="default",
    show_default=True,
    metavar="SPEC",
    help="Rewrites to run, in order (see `lwc passes`); default,-NAME leaves one out.",
)
@click.option("--dump-dir", type=NewPath(), help="Folder for the graph after every pass.")
@threads_option
@json_option
def command(
    model: str,
    target: str,
    output: Path | None,
    width: float | None,
    image_size: int | None,
    output_stride: int | None,
    num_labels: int | None,
    batch: int,
    weights: str,
    seed: int,
    passes: str,
    dump_dir: Path | None,
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
    # Before the seconds that the next imports take.
    resolve_target(target)
    from lwc.models.request import ModelRequest

    request = ModelRequest(
        model=model,
        width=width,
        image_size=image_size,
        output_stride=output_stride,
        num_labels=num_labels,
        batch=batch,
        weights=weights,
        seed=seed,
    )
    from lwc.cli.progress import PlainConsole, StageReporter

    reporter = StageReporter(PlainConsole())
    with reporter.live("start"):
        from lwc.cli.summary import emit_summary
        from lwc.driver import CompileRequest, compile_package
    # A factory of the user's may print; stdout is for the result.
    with redirect_stdout(sys.stderr):
        result = compile_package(
            CompileRequest(
                model=request,
                target=target,
                output=output,
                passes=passes,
                dump_dir=dump_dir,
                threads=threads,
            ),
            reporter,
        )
    emit_summary(result, time.perf_counter() - start, as_json)
