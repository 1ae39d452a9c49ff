"""`lwc run`: a package on the user's own input."""

from pathlib import Path

import click

from lwc.cli.options import NewPath, json_option, package_argument, threads_option
from lwc.cli.output import emit, emit_json

_EPILOG = """\
\b
Examples:
  lwc run mobilenet_v1-native --input cat.jpg
  lwc run mobilenet_v1-arm64 --input input.npy --output logits.npy --json
"""


@click.command(epilog=_EPILOG)
@package_argument
@click.option(
    "--input",
    "inputs",
    type=click.Path(path_type=Path),
    required=True,
    multiple=True,
    help="An image or a .npy file of float32, or of the input's integers; once for each input, in the package's order.",
)
@click.option(
    "--output",
    type=NewPath(),
    help="Write the output here as .npy, integers as they are (further ones to NAME_1.npy, ...).",
)
@click.option(
    "--top", type=click.IntRange(1, 1000), default=5, show_default=True, metavar="N", help="Classes to show."
)
@threads_option
@json_option
def command(
    package: Path, inputs: tuple[Path, ...], output: Path | None, top: int, threads: int, as_json: bool
) -> None:
    """Run PACKAGE and show the likeliest classes, or the range of other outputs.

    A package for another machine runs under qemu, where that is installed, and one for a GPU on the processor, where
    there is no GPU. Real numbers become integers where the package takes these (`lwc compile --io int8`), and what is
    shown are real numbers again.
    """
    from lwc.cli.inputs import read_inputs
    from lwc.cli.progress import PlainConsole, StageReporter
    from lwc.cli.report import check_finite, output_document, output_text
    from lwc.cli.save import save_arrays
    from lwc.package.manifest import read_manifest
    from lwc.package.run import run_package
    from lwc.package.steps import dequantize

    manifest = read_manifest(package)
    results = run_package(package, read_inputs(inputs, manifest.inputs, manifest.preprocessing), threads)
    if output is not None:
        save_arrays(output, results)
    check_finite(results, manifest)
    pairs = [(info, dequantize(array, info)) for info, array in zip(manifest.outputs, results, strict=True)]
    if as_json:
        outputs = [output_document(info, array, manifest, top) for info, array in pairs]
        emit_json({"package": str(package), "weights": manifest.weights, "outputs": outputs})
        return
    if manifest.weights == "random":
        StageReporter(PlainConsole()).warn("the package has random weights: what it says means nothing")
    for info, array in pairs:
        emit(output_text(info, array, manifest, top))
