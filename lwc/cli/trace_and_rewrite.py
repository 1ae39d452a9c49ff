"""What `lwc explain` and `lwc bisect` do first: load, trace, and run the passes."""

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lwc.models.request import ModelRequest
from lwc.targets.resolve import resolve_target

if TYPE_CHECKING:
    from torch import Tensor

    from lwc.models.request import LoadedModel
    from lwc.rewriting import Rewritten


def trace_and_rewrite(
    request: ModelRequest, target: str, passes: dict[str, Any], verify: bool, inputs: tuple[Path, ...] = ()
) -> "Rewritten":
    """What the passes that `passes` (fields of a PassOptions) asks for did to the model, for `target`.

    `inputs`: files for the model's inputs, in place of its own sample.
    Shows each stage on stderr. Raises what compiling raises up to there.
    """
    # A package or a factory of the user's may print; stdout is for the result.
    with redirect_stdout(sys.stderr):
        machine = resolve_target(target)
    from lwc.cli.progress import PlainConsole, StageReporter

    reporter = StageReporter(PlainConsole())
    with reporter.live("start"):
        import lwc.ops  # noqa: F401  registers the operators
        from lwc.models.load import load_model
        from lwc.quantize.raise_quantization import raise_quantized
        from lwc.rewriting import PassOptions, rewrite
        from lwc.trace import trace
    options = PassOptions(**passes, verify=verify)
    with redirect_stdout(sys.stderr):
        pipeline = options.pipeline()
        with reporter.stage("load"):
            model = load_model(request, reporter.warn)
            if inputs:
                model = replace(model, inputs=_read(inputs, model))
        with reporter.stage("trace"):
            traced = trace(model.module, model.inputs, model.input_names)
            traced = raise_quantized(replace(traced, target=machine))
        with reporter.stage("passes"):
            return rewrite(options, pipeline, traced)


def _read(paths: tuple[Path, ...], model: "LoadedModel") -> "tuple[Tensor, ...]":
    import torch

    from lwc.cli.inputs import read_inputs
    from lwc.package.manifest import TensorInfo

    wanted = tuple(
        TensorInfo(name=name, dtype="float32", shape=tuple(x.shape), layout=layout)
        for name, x, layout in zip(model.input_names, model.inputs, model.input_layouts, strict=True)
    )
    return tuple(map(torch.tensor, read_inputs(paths, wanted, model.preprocessing)))
