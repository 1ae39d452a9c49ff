"""`lwc explain`: each candidate of each pass, rewritten or refused and why."""

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from lwc.cli.model_options import model_options, pass_options
from lwc.cli.options import json_option, target_option
from lwc.cli.output import emit, emit_json, table
from lwc.cli.trace_and_rewrite import trace_and_rewrite
from lwc.cli.units import short_bytes
from lwc.models.request import ModelRequest

if TYPE_CHECKING:
    from lwc.pipeline import PassRecord, Pipeline
    from lwc.rewriting import Rewritten

_EPILOG = """\
\b
Examples:
  lwc explain levit_128s --weights random
  lwc explain mobilenet_v2 --pass fold-batch-norm
  lwc explain mobilenet_v1 --pass select-depthwise-kernel --target cortex-a72
  lwc explain my_package.models:make_net --pass my_pass.py:MyPass,after=fold-padding --json

With --pass, only the passes that it names are shown; one that is not in the pipeline is added to it.
"""


@click.command(epilog=_EPILOG)
@model_options
@target_option
@pass_options
@json_option
def command(request: ModelRequest, target: str, passes: dict[str, Any], as_json: bool) -> None:
    """Show what every pass makes of MODEL: each candidate, rewritten or refused, and why.

    Compiles nothing. MODEL is what `lwc compile` takes. The last line is the most memory that activations take at
    once, in the graph's order.
    """
    # A plug-in may print; stdout is for the result.
    with redirect_stdout(sys.stderr):
        pipeline, named = _pipeline_and_named(**passes)
    plain = {**passes, "spec": pipeline, "extra": (), "prune": None}
    rewritten = trace_and_rewrite(request, target, plain, verify=False)
    shown = [(i, r) for i, r in enumerate(rewritten.records, start=1) if not named or r.name in named]
    if as_json:
        documents = [_document(position, record) for position, record in shown]
        emit_json({"passes": documents, "most_memory": _most_memory(rewritten)})
        return
    rows = [row for position, record in shown for row in _rows(position, record)]
    emit(table(("position", "pass", "node", "what", "why"), rows, right=("position",)))
    emit(f"\n{sum(r.count for _, r in shown)} rewritten, {sum(len(r.refusals) for _, r in shown)} refused")
    before, after = (f"{short_bytes(d['bytes'])} at {d['node']}" for d in _most_memory(rewritten).values())
    emit(f"activations take {before} before all passes, {after} after them")


def _pipeline_and_named(extra: tuple[str, ...], **passes: Any) -> "tuple[Pipeline, set[str]]":
    """The pipeline with what is not yet in it of `extra`, and the names of the passes that `extra` mean."""
    from lwc.rewriting import PassOptions

    pipeline, named = PassOptions(**passes).pipeline(), set[str]()
    for word in extra:
        if word in {item.name for item in pipeline.passes}:
            named.add(word)
            continue
        extended = pipeline.with_pass(word)
        (added,) = (item for item in extended.passes if all(item is not known for known in pipeline.passes))
        named.add(added.name)
        if added not in pipeline.passes:
            pipeline = extended
    return pipeline, named


def _most_memory(rewritten: "Rewritten") -> dict[str, dict[str, Any]]:
    """The most bytes of activations alive at once, and the first node where they are."""
    from lwc.graph_view import peak_memory

    peaks = {"before": peak_memory(rewritten.traced), "after": peak_memory(rewritten.program)}
    return {when: {"bytes": size, "node": node} for when, (size, node) in peaks.items()}


def _rows(position: int, record: "PassRecord") -> list[tuple[str, ...]]:
    notes = {note.node: note.text for note in record.notes}
    rows = [(node, "rewritten", notes.get(node, "")) for node in record.rewritten]
    rows += [(refusal.node, "refused", refusal.reason) for refusal in record.refusals]
    rows = rows or [("-", "no candidate", "")]
    return [(str(position), record.name, *row) for row in rows]


def _document(position: int, record: "PassRecord") -> dict[str, Any]:
    return {
        "position": position,
        "name": record.name,
        "rewritten": list(record.rewritten),
        "notes": [{"node": note.node, "text": note.text} for note in record.notes],
        "refused": [{"node": refusal.node, "reason": refusal.reason} for refusal in record.refusals],
        "seconds": round(record.seconds, 4),
    }
