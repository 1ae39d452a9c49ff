"""What `lwc explain` and `lwc bisect` do first: load, trace, and run the passes."""

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lwc.models.request import ModelRequest
from lwc.targets.resolve import resolve_target

if TYPE_CHECKING:
    from lwc.rewriting import Rewritten


def trace_and_rewrite(
    request: ModelRequest, target: str, passes: dict[str, Any], verify: bool
) -> "Rewritten":
    """What the passes that `passes` (fields of a PassOptions) asks for did to the model, for `target`.

    Shows each stage on stderr. Raises what compiling raises up to there.
    """
    machine = resolve_target(target)
    from lwc.cli.progress import PlainConsole, StageReporter

    reporter = StageReporter(PlainConsole())
    with reporter.live("start"):
        import lwc.ops  # noqa: F401  registers the operators
        from lwc.models.load import load_model
        from lwc.rewriting import PassOptions, rewrite
        from lwc.trace import trace
    options = PassOptions(**passes, verify=verify)
    with redirect_stdout(sys.stderr):
        pipeline = options.pipeline()
        with reporter.stage("load"):
            model = load_model(request, reporter.warn)
        with reporter.stage("trace"):
            traced = replace(trace(model.module, model.inputs, model.input_names), target=machine)
        with reporter.stage("passes"):
            return rewrite(options, pipeline, traced)
