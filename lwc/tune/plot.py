"""How the search for each kernel went, as a picture."""

import itertools
from collections.abc import Sequence
from typing import IO

import matplotlib

from lwc.tune.progress import Search

matplotlib.use("Agg")
from matplotlib import pyplot

_KINDS_OF_LINE = ("-", "--", ":")
_COLOURS = 10


def search_plot(searches: Sequence[Search], title: str, file: IO[bytes], form: str) -> None:
    """Draws the best ratio to the planned kernel after each trial, a line a kernel; `form`: "png" or "svg".

    Trials of earlier runs come first, in the order of their choices.
    """
    figure, axes = pyplot.subplots(figsize=(11, 6), layout="constrained")
    for number, search in enumerate(searches):
        ratios = [1.0, *(trial.ratio for trial in search.trials.values())]
        axes.step(
            range(len(ratios)),
            list(itertools.accumulate(ratios, min)),
            _KINDS_OF_LINE[number // _COLOURS % len(_KINDS_OF_LINE)],
            where="post",
            label=f"{search.task.kind} {search.task.layers[0]}",
        )
    axes.set(title=title, xlabel="trials", ylabel="best time so far, as a part of the planned kernel's")
    axes.grid(alpha=0.2)
    if searches:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="x-small")
    figure.savefig(file, format=form, dpi=120)
    pyplot.close(figure)
