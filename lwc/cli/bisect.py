"""`lwc bisect`: the first pass, and rewrite of it, that changes what a model gives."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lwc.cli.model_options import model_options, pass_options
from lwc.cli.options import NewPath, json_option, target_option
from lwc.cli.output import emit, emit_json, table
from lwc.cli.trace_and_rewrite import trace_and_rewrite
from lwc.cli.units import short_float
from lwc.errors import UnsupportedError, VerificationError
from lwc.models.request import ModelRequest

if TYPE_CHECKING:
    from lwc.rewriting import Rewritten

_EPILOG = """\
\b
Examples:
  lwc bisect mobilenet_v2 --weights random
  lwc bisect my_package.models:make_net --pass my_pass.py:MyPass,after=fold-batch-norm

Exit code 5 says that a pass changes the result; the error names it. With --json, stdout has one object in both
cases: "agrees" says which, and where it is false, "name", "rewrite" and "node" say what is wrong.
"""


@click.command(epilog=_EPILOG)
@model_options
@target_option
@pass_options
@click.option(
    "--input",
    "inputs",
    type=NewPath(),
    multiple=True,
    help="An image or a .npy file in place of the sample; once for each input of the model.",
)
@json_option
def command(
    request: ModelRequest, target: str, passes: dict[str, Any], inputs: tuple[Path, ...], as_json: bool
) -> None:
    """Find the first pass, and the first rewrite of it, after which MODEL gives something else.

    Runs the graph before and after each pass in float64, as `lwc compile` does, and compiles nothing. MODEL is what
    `lwc compile` takes.
    """
    try:
        rewritten = trace_and_rewrite(request, target, passes, verify=True, inputs=inputs)
    except VerificationError as error:
        if as_json:
            emit_json(_disagreement(error))
        raise
    _require_comparison(rewritten)
    if as_json:
        compared = {"compared_outputs": rewritten.compared}
        emit_json({"agrees": True, **compared, "passes": _documents(rewritten)})
        return
    rows = [
        (d["name"], str(d["rewrites"]), _number(d["error"]), _number(d["limit"]))
        for d in _documents(rewritten)
    ]
    columns = ("rewrites", "error", "limit")
    emit(table(("pass", *columns), rows, right=columns))
    emit(f"\nevery pass keeps what the {'model' if rewritten.pruned is None else 'pruned model'} gives")
    if rewritten.compared < rewritten.outputs:
        emit(f"compared: {rewritten.compared} of {rewritten.outputs} outputs; the others are not finite")


def _require_comparison(rewritten: "Rewritten") -> None:
    """Raises UnsupportedError where no output could be compared, so that nothing is known of the passes."""
    if rewritten.compared == 0:
        raise UnsupportedError(
            "no output can be compared: PyTorch gives NaN or infinity, or cannot run the model in float64;"
            " give another --input, or mend the model"
        )


def _disagreement(error: VerificationError) -> dict[str, Any]:
    """What is wrong; an error that is no number, as where the result is NaN, is None."""
    from lwc.pipeline.verify import DisagreementError

    assert isinstance(error, DisagreementError)
    found = error.found
    return {
        "agrees": False,
        "position": found.step.position,
        "name": found.step.item.name,
        "rewrites": found.step.record.count,
        "rewrite": found.application,
        "node": found.node,
        "error": found.check.error if math.isfinite(found.check.error) else None,
        "limit": found.check.limit,
        "first_different": found.first_difference,
        "message": str(error),
    }


def _documents(rewritten: "Rewritten") -> list[dict[str, Any]]:
    documents = []
    for position, record in enumerate(rewritten.records, start=1):
        check = rewritten.checks.get(position)
        documents.append(
            {
                "position": position,
                "name": record.name,
                "rewrites": record.count,
                "error": None if check is None else check.error,
                "limit": None if check is None else check.limit,
            }
        )
    return documents


def _number(value: float | None) -> str:
    return "-" if value is None else short_float(value)
