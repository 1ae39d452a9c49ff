"""The options of every verb that loads a model and runs passes on it."""

import functools
from collections.abc import Callable
from typing import Any

import click

from lwc.cli.options import NewPath
from lwc.models.request import ModelRequest

_MODEL = (
    click.option("--width", type=float, metavar="FACTOR", help="Depth multiplier of a MobileNet."),
    click.option("--image-size", type=int, metavar="N", help="Height and width of the input, in pixels."),
    click.option(
        "--output-stride", type=int, metavar="N", help="Input pixels per output pixel: 8, 16 or 32."
    ),
    click.option("--num-labels", type=int, metavar="N", help="Number of classes."),
    click.option("--batch", type=int, default=1, show_default=True, metavar="N", help="Images in one run."),
    click.option(
        "--weights",
        default="auto",
        show_default=True,
        metavar="auto|pretrained|random|PATH",
        help="auto: pretrained, or random where they cannot be had.",
    ),
    click.option(
        "--seed", type=int, default=0, show_default=True, metavar="N", help="Of random weights and samples."
    ),
)
_PASSES = (
    click.option(
        "--passes",
        "spec",
        default="default",
        show_default=True,
        metavar="SPEC",
        help="Rewrites to run, in order: NAME (see `lwc passes`) or FILE.py:Class; default,-NAME leaves one out.",
    ),
    click.option(
        "--pass",
        "extra",
        multiple=True,
        metavar="PASS",
        help="One more: NAME or FILE.py:Class, then {options}, ,after=NAME or ,before=NAME.",
    ),
    click.option(
        "--pass-limit",
        "limit",
        type=click.IntRange(min=0),
        metavar="N",
        help="Stop rewriting after N rewrites, to look for one that is wrong.",
    ),
    click.option(
        "--prune",
        type=float,
        metavar="FRACTION",
        help="Remove this part of the channels, those of least magnitude, e.g. 0.3. Costs accuracy.",
    ),
    click.option("--dump-dir", type=NewPath(), help="Folder for the graph after every pass."),
)

Command = Callable[..., Any]


def model_options(command: Command) -> Command:
    """Adds MODEL and its options; `command` gets them as `request: ModelRequest`."""

    @functools.wraps(command)
    def call(model: str, **values: Any) -> Any:
        return command(request=ModelRequest(model, **_taken(values)), **values)

    return _with((click.argument("model"), *_MODEL), call)


def several_models_options(command: Command) -> Command:
    """Adds MODEL... and the options of them all; `command` gets them as `requests`, a tuple of ModelRequest."""

    @functools.wraps(command)
    def call(models: tuple[str, ...], **values: Any) -> Any:
        fields = _taken(values)
        return command(requests=tuple(ModelRequest(model, **fields) for model in models), **values)

    return _with((click.argument("models", metavar="MODEL...", nargs=-1, required=True), *_MODEL), call)


def _taken(values: dict[str, Any]) -> dict[str, Any]:
    """Takes the fields of a ModelRequest out of `values`."""
    fields = ("width", "image_size", "output_stride", "num_labels", "batch", "weights", "seed")
    return {name: values.pop(name) for name in fields}


def pass_options(command: Command) -> Command:
    """Adds the passes' options; `command` gets them as `passes`, the fields of a `lwc.rewriting.PassOptions`."""

    @functools.wraps(command)
    def call(**values: Any) -> Any:
        passes = {name: values.pop(name) for name in ("spec", "extra", "limit", "dump_dir", "prune")}
        return command(passes=passes, **values)

    return _with(_PASSES, call)


def _with(options: tuple[Callable[[Command], Command], ...], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
