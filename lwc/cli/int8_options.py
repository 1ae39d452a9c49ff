"""The options of the verbs that can quantize a model."""

from collections.abc import Callable
from typing import Any

import click

from lwc.quantize.choices import DEFAULT_OBSERVER, OBSERVERS, PRECISIONS

_OPTIONS = (
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        help="fp16: tensors in float16, on GPUs. int8: 8-bit integers, by ranges measured on --calibrate, or those of"
        " a model that is quantized already."
        "  [default: fp32; int8 for such a model]",
    ),
    click.option(
        "--calibrate",
        metavar="DATA",
        help="Folder of about 100 images, .npy or .npz of inputs, or `synthetic`: what int8 ranges are measured on.",
    ),
    click.option(
        "--observer",
        type=click.Choice(OBSERVERS),
        show_default=DEFAULT_OBSERVER,
        help="How the range of an int8 activation is found; mse: with the least squared error.",
    ),
)


def int8_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of INT8; `command` gets `precision`, `calibrate` and `observer`, None where not given."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
