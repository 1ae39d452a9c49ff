"""The float program that INT8 starts from, for the scripts that compare ways of quantizing it."""

from dataclasses import replace

import lwc.ops  # noqa: F401  registers the operators
from lwc.models.request import LoadedModel
from lwc.pipeline import Pipeline
from lwc.quantizing import FLOAT_ONLY
from lwc.rewriting import PassOptions, rewrite
from lwc.targets.resolve import resolve_target
from lwc.trace import Program, trace


def float_program(model: LoadedModel) -> Program:
    """`model` after the float passes, for a target with unsigned activations."""
    options = PassOptions(verify=False)
    passes = tuple(item for item in options.pipeline().passes if item.name != FLOAT_ONLY)
    traced = replace(trace(model.module, model.inputs, model.input_names), target=resolve_target("x86-64-v3"))
    return rewrite(options, Pipeline(passes), traced).program


def silent(text: str) -> None:
    """Nothing to say of the progress."""
