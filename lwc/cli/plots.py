"""The option `--plot` of verbs that draw."""

from importlib.util import find_spec
from pathlib import Path

from lwc.cli.save import check_place
from lwc.errors import UsageError

_FORMS = ("png", "svg")


def plot_form(plot: Path | None) -> str:
    """The format of the picture `plot`, by the file's ending; empty where none is asked for.

    Raises UsageError for another ending, or without matplotlib, and BadInputError where no file can be written there.
    """
    if plot is None:
        return ""
    form = plot.suffix.removeprefix(".").lower()
    if form not in _FORMS:
        raise UsageError(f"{plot}: ends in neither .png nor .svg; name the picture so")
    if find_spec("matplotlib") is None:
        raise UsageError("--plot: matplotlib is not installed; `pip install 'lwc[bench]'`")
    check_place(plot)
    return form
