"""What `lwc bench` says of each model: a table, or a JSON object."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lwc.bench.machine import Machine
from lwc.bench.results import Result, best_peer
from lwc.bench.run import BenchOptions
from lwc.cli.output import table
from lwc.models.request import ModelRequest


def results_text(model: str, results: Sequence[Result], machine: Machine) -> str:
    """The table of one model, and what it comes to."""
    header = ("engine", "version", "median ms", "p90", "min", "error", "lwc's ratio", "")
    rows = [
        (
            result.engine,
            result.version,
            *(_number(value, "{:.2f}") for value in (result.median, result.p90, result.minimum)),
            _number(result.error, "{:.1e}"),
            _number(result.ratio, "{:.2f}"),
            result.failure or "",
        )
        for result in results
    ]
    lines = [f"{model}, {machine}", table(header, rows, right=header[2:-1])]
    best = best_peer(results)
    if best is not None and best.ratio is not None:
        lines.append(f"{best.ratio:.2f} of the best other engine, {best.engine}")
    return "\n".join([*lines, ""])


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def results_document(
    results: Sequence[tuple[ModelRequest, list[Result]]], machine: Machine, options: BenchOptions
) -> dict[str, Any]:
    """All figures as a JSON object; times are milliseconds."""
    models = [
        {
            **asdict(request),
            "best": None if (best := best_peer(found)) is None else best.engine,
            "ratio_to_best": None if best is None else best.ratio,
            "engines": [asdict(result) for result in found],
        }
        for request, found in results
    ]
    taken = {"precision": options.precision, "rounds": options.rounds, "repeat": options.repeat}
    return {"machine": asdict(machine), **taken, "models": models}
