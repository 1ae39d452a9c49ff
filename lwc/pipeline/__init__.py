"""Passes, the pipeline that runs them, and the one hook between them."""

from lwc.pipeline.pipeline import Pipeline
from lwc.pipeline.registry import DEFAULT, PASSES, make_pass
from lwc.pipeline.rewrite import Match, Pass
from lwc.pipeline.run import Hook, Note, PassRecord, Refusal, Step, refresh, run_pipeline

__all__ = [
    "DEFAULT",
    "PASSES",
    "Hook",
    "Match",
    "Note",
    "Pass",
    "PassRecord",
    "Pipeline",
    "Refusal",
    "Step",
    "make_pass",
    "refresh",
    "run_pipeline",
]
