"""`lwc noise`: how much noise the rounding of INT8 makes in each layer of a package."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lwc.cli.options import NewPath, json_option, package_argument
from lwc.cli.output import emit, emit_json, table
from lwc.cli.plots import plot_form
from lwc.cli.save import save_file
from lwc.errors import BadInputError

if TYPE_CHECKING:
    from lwc.package.quantization import Quantization

_EPILOG = """\
\b
Examples:
  lwc noise mobilenet_v1-int8-native
  lwc noise mobilenet_v1-int8-native --plot noise.svg
"""


@click.command(epilog=_EPILOG)
@package_argument
@click.option("--plot", type=NewPath(), metavar="FILE", help="Draw it, as .png or .svg.")
@json_option
def command(package: Path, plot: Path | None, as_json: bool) -> None:
    """Show how much noise INT8 makes in each layer of PACKAGE: signal-to-noise ratios in decibels.

    They were measured on calibration samples when the package was compiled, between the layer's result and that of
    the float model: `own` with this layer's inputs and weights rounded alone, `accumulated` with those of all layers
    before it, too. 10 dB means an error of a third, 20 dB of a tenth, 30 dB of a thirtieth.
    """
    form = plot_form(plot)
    from lwc.package.manifest import read_manifest

    found = read_manifest(package).quantization
    if found is None:
        raise BadInputError(f"{package}: is not in INT8; compile it with --precision int8")
    if not found.layers:
        raise BadInputError(f"{package}: its manifest has no noise by layer; compile it again")
    if plot is not None:
        from lwc.quantize.plot import noise_plot

        save_file(plot, "--plot", lambda file: noise_plot(found, package.name, file, form))
    if as_json:
        emit_json({"package": str(package), **found.model_dump(mode="json")})
    else:
        emit(_text(found))


def _text(found: "Quantization") -> str:
    from lwc.cli.quantization import decibels

    rows = [(layer.layer, decibels(layer.own_db), decibels(layer.accumulated_db)) for layer in found.layers]
    outputs = ", ".join(map(decibels, found.signal_to_noise_db))
    return "\n".join(
        [
            table(("layer", "own", "accumulated"), rows, right=("own", "accumulated")),
            "",
            f"measured on {found.noise_samples} samples of {found.calibration}; the model's outputs: {outputs}",
        ]
    )
