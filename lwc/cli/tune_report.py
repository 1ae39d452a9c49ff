"""What `lwc tune` says at the end: a table with a line a kernel, or a JSON object."""

import math
from pathlib import Path
from typing import Any

from lwc.cli.output import table
from lwc.tune.effort import Effort
from lwc.tune.progress import Search
from lwc.tuning import Tuned

_HEADER = ("kernel", "layers", "first layer", "trials", "before us", "after us", "ratio", "confirmed")
_NUMBERS = ("layers", "trials", "before us", "after us", "ratio")
_NAME = 40


def tuned_text(tuned: Tuned) -> str:
    """The table, and the times of the whole model."""
    if not tuned.searches:
        return "none of the model's kernels leaves anything open"
    rows = [_row(search) for search in tuned.searches]
    return "\n".join([table(_HEADER, rows, right=_NUMBERS), "", *_model_lines(tuned)])


def first_layer(search: Search) -> str:
    """The name of the first layer that uses the kernel, its beginning left out where it is long."""
    name = search.task.layers[0]
    return name if len(name) <= _NAME else f"...{name[3 - _NAME :].lstrip('.')}"


def _row(search: Search) -> tuple[str, ...]:
    head = (search.task.kind, str(len(search.task.layers)), first_layer(search), str(len(search.trials)))
    best = search.best
    if best is None:
        before = "" if math.isinf(search.planned) else f"{search.planned:.1f}"
        return (*head, before, "", "", "slower in the model" if search.was_given_up else "")
    times = (f"{best.default_microseconds:.1f}", f"{best.microseconds:.1f}", f"{best.ratio:.2f}")
    return (*head, *times, f"{best.rounds} rounds")


def _model_lines(tuned: Tuned) -> list[str]:
    if tuned.planned is None or tuned.tuned is None:
        return ["no kernel was found that is faster than the planned one"]
    before, after = tuned.planned.run, tuned.tuned.run
    return [
        "confirmed: timed in turn with the planned kernel, results held against PyTorch's",
        f"model      {before:.1f} us -> {after:.1f} us, ratio {after / before:.2f}",
        "next       `lwc compile` with the same options takes these kernels",
    ]


def tuned_document(tuned: Tuned, model: str, store: Path, effort: Effort) -> dict[str, Any]:
    """The same as a JSON object; times are microseconds, null where they are not known."""
    planned, after = (None if times is None else times.run for times in (tuned.planned, tuned.tuned))
    return {
        "model": model,
        "target": tuned.target.name,
        "store": str(store),
        "trials": effort.trials,
        "seconds": effort.seconds,
        "kernels": [_entry(search) for search in tuned.searches],
        "before_us": planned,
        "after_us": after,
    }


def _entry(search: Search) -> dict[str, Any]:
    best, outcomes = search.best, [trial.outcome for trial in search.trials.values()]
    return {
        "kernel": search.task.kind,
        "workload": search.task.workload,
        "layers": list(search.task.layers),
        "macs": search.task.macs,
        "trials": len(outcomes),
        "wrong": outcomes.count("wrong"),
        "failed": outcomes.count("failed"),
        "exhausted": search.exhausted,
        "planned_us": None if math.isinf(search.planned) else search.planned,
        "before_us": None if best is None else best.default_microseconds,
        "after_us": None if best is None else best.microseconds,
        "rounds": None if best is None else best.rounds,
        "choice": None if best is None else best.choice,
        "gain_us": search.gain,
    }
