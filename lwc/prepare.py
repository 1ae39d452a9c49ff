"""From a model's name to the program that is lowered: load, trace, passes, and for INT8 calibration."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import lwc.ops  # noqa: F401  registers the operators
from lwc.accuracy_budget import Budget, within_budget
from lwc.compile_request import CompileRequest, chosen_precision
from lwc.cuda.find import find_compiler
from lwc.half import PRECISION as HALF
from lwc.half import in_half, with_precision
from lwc.layer_times import layer_timer
from lwc.models.evaluate import Accuracy, LabelledImage, evaluate, read_labels, require_classifier
from lwc.models.load import load_model
from lwc.models.request import LoadedModel
from lwc.package.toolchain import Toolchain, find_toolchain
from lwc.pipeline import Pipeline
from lwc.pruning import Pruned, verify_original
from lwc.quantize.choices import DEFAULT_OBSERVER, Rules
from lwc.quantize.data import CalibrationData, read_calibration
from lwc.quantize.raise_quantization import is_quantized, raise_quantized
from lwc.quantized_models import lower_quantized
from lwc.quantizing import FLOAT_ONLY, Quantized, to_integers
from lwc.reporter import Clock, Reporter
from lwc.rewriting import Rewritten, rewrite
from lwc.targets.resolve import resolve_target
from lwc.targets.target import Target
from lwc.trace import Program, trace
from lwc.tvm_api import check_cpu


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of the model as it was loaded and, where it was pruned or quantized, of what that made of it."""

    original: Accuracy
    pruned: Accuracy | None
    quantized: Accuracy | None = None


@dataclass(frozen=True)
class Loaded:
    """What a request names: the model and its trace, and what to calibrate and to evaluate with."""

    request: CompileRequest
    target: Target
    toolchain: Toolchain
    pipeline: Pipeline
    model: LoadedModel
    traced: Program
    precision: str
    data: CalibrationData | None
    images: Sequence[LabelledImage] | None

    @property
    def output(self) -> Path:
        """Where the package is to lie."""
        if self.request.output is not None:
            return self.request.output
        kind = "" if self.precision == "fp32" else f"-{self.precision}"
        plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.target.name)
        return Path(f"{self.model.name}{kind}-{plain[:100]}")


@dataclass(frozen=True)
class Prepared:
    """A model after the passes, and on integers where that is asked for."""

    loaded: Loaded
    rewritten: Rewritten
    quantized: Quantized | None
    evaluation: Evaluation | None

    @cached_property
    def program(self) -> Program:
        """What is lowered."""
        if self.loaded.precision == HALF:
            return in_half(self.rewritten.program)
        return self.rewritten.program if self.quantized is None else self.quantized.compiled.program

    @property
    def float_io(self) -> Program:
        """The same with inputs and outputs in float32."""
        return self.rewritten.program if self.quantized is None else self.quantized.integer


def load(request: CompileRequest, clock: Clock) -> Loaded:
    """Check `request`, load its model and trace it.

    Raises UsageError, BadInputError, UnsupportedError or ResourceError.
    """
    target = resolve_target(request.target)
    target = with_precision(target, request.precision)
    check_cpu(target)
    pipeline = request.passes.pipeline()
    images = None if request.evaluate is None else read_labels(request.evaluate)
    toolchain = find_toolchain(target)
    if target.gpu is not None:
        # Before anything takes long.
        find_compiler()
    with clock.stage("load"):
        model = load_model(request.model, clock.reporter.warn)
        if images is not None:
            require_classifier(model, images)
        data = _calibration(request, model, clock.reporter)
    with clock.stage("trace"):
        traced = trace(model.module, model.inputs, model.input_names)
        traced = raise_quantized(replace(traced, target=target))
        precision = chosen_precision(request, is_quantized(traced))
    if precision == "int8":
        pipeline = Pipeline(tuple(item for item in pipeline.passes if item.name != FLOAT_ONLY))
    return Loaded(request, target, toolchain, pipeline, model, traced, precision, data, images)


def prepare(loaded: Loaded, clock: Clock) -> Prepared:
    """Run the passes, and quantize where that is asked for. Raises what the stages raise."""
    request, model, output = loaded.request, loaded.model, loaded.output
    with clock.stage("passes"):
        reproducer = output.with_name(f"{output.name}-reproducer")
        rewritten = rewrite(request.passes, loaded.pipeline, loaded.traced, reproducer)
        if rewritten.pruned is not None:
            verify_original(model, rewritten.pruned)
            _warn_of_nothing(rewritten.pruned, clock.reporter)
    quantized = None
    if loaded.precision == "int8":
        quantized = _within_budget(loaded, rewritten, _quantized(loaded, rewritten, clock), clock)
    return Prepared(loaded, rewritten, quantized, _evaluate(loaded, rewritten, quantized, clock))


def _within_budget(loaded: Loaded, rewritten: Rewritten, quantized: Quantized, clock: Clock) -> Quantized:
    request, data, images = loaded.request, loaded.data, loaded.images
    if data is None or images is None or request.accuracy_budget is None:
        return quantized
    budget = Budget(request.accuracy_budget, loaded.model, images, clock.reporter.note)
    timing = layer_timer(loaded.model, loaded.target, request.threads, rewritten, loaded.toolchain)
    with clock.stage("budget"), timing as timer:
        return within_budget(budget, quantized, data, timer)


def _quantized(loaded: Loaded, rewritten: Rewritten, clock: Clock) -> Quantized:
    request = loaded.request
    if loaded.data is not None:
        rules = Rules(request.observer or DEFAULT_OBSERVER, request.io)
        with clock.stage("calibrate"):
            return to_integers(rewritten.program, loaded.data, clock.reporter.note, rules)
    with clock.stage("quantize"):
        quantized = lower_quantized(rewritten.program, loaded.model.module)
    if quantized.quantization.integer_layers == 0:
        clock.reporter.warn(
            "the model is quantized, but no layer can compute on integers: its activations, or its weights, are in"
            " float32"
        )
    return quantized


def _calibration(request: CompileRequest, model: LoadedModel, reporter: Reporter) -> CalibrationData | None:
    if request.calibrate is None:
        return None
    return read_calibration(request.calibrate, model, request.model.seed, reporter.warn)


def _warn_of_nothing(pruned: Pruned, reporter: Reporter) -> None:
    if pruned.pruning.before == pruned.pruning.after:
        reporter.warn("nothing was pruned; `lwc explain` with --pass zero-channels says why")


def _evaluate(
    loaded: Loaded, rewritten: Rewritten, quantized: Quantized | None, clock: Clock
) -> Evaluation | None:
    if loaded.images is None:
        return None
    modules = {"original": loaded.model.module}
    if rewritten.pruned is not None:
        modules["pruned"] = rewritten.pruned.reference.module
    if quantized is not None:
        modules["quantized"] = quantized.integer.module
    with clock.stage("evaluate"):
        results = evaluate(list(modules.values()), loaded.model, loaded.images, clock.reporter.note)
    found = dict(zip(modules, results, strict=True))
    return Evaluation(found["original"], found.get("pruned"), found.get("quantized"))
