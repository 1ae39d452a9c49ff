"""The whole way from a model's name to a package, stage by stage."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import lwc.ops  # noqa: F401  registers the operators
from lwc.errors import UsageError
from lwc.lower.build import build_kernels
from lwc.lower.lower import lower
from lwc.models.evaluate import Accuracy, LabelledImage, evaluate, read_labels, require_classifier
from lwc.models.load import load_model
from lwc.models.request import LoadedModel, ModelRequest
from lwc.package.assemble import assemble
from lwc.package.link import compile_sources, link_library
from lwc.package.manifest import Manifest
from lwc.package.parts import Parts
from lwc.package.toolchain import find_toolchain
from lwc.package.verify_parts import verify_parts
from lwc.package.write import check_destination, package_folder
from lwc.pipeline import Pipeline
from lwc.pruning import Pruned, verify_original
from lwc.quantize.data import CalibrationData, read_calibration
from lwc.quantizing import FLOAT_ONLY, Quantized, to_integers
from lwc.rewriting import PassOptions, Rewritten, rewrite
from lwc.targets.resolve import resolve_target
from lwc.trace import trace
from lwc.tvm_api import check_cpu

PRECISIONS = ("fp32", "int8")


@dataclass(frozen=True)
class CompileRequest:
    """What to compile, for which machine, and where to.

    `output` None: MODEL-TARGET/ in the current folder, MODEL-int8-TARGET/ for `precision` int8; `threads` 0: the
    device decides; `evaluate`: a folder of labelled images on which the model is to be tried, before and after pruning
    and quantizing; `calibrate`: what `read_calibration` takes, for int8 alone. Raises UsageError where they do not
    fit together.
    """

    model: ModelRequest
    target: str = "native"
    output: Path | None = None
    passes: PassOptions = field(default_factory=PassOptions)
    threads: int = 0
    evaluate: Path | None = None
    precision: str = "fp32"
    calibrate: str | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision {self.precision!r}: unknown; choose from {', '.join(PRECISIONS)}")
        if self.precision == "int8" and self.calibrate is None:
            raise UsageError(
                "precision int8: needs data to measure ranges on; give --calibrate a folder of about 100 images,"
                " a .npy or .npz file, or `synthetic`"
            )
        if self.precision != "int8" and self.calibrate is not None:
            raise UsageError(
                "--calibrate: measures the ranges of INT8; add --precision int8, or leave it out"
            )


class Reporter(Protocol):
    """Who is told of the progress."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Entered for each of load, trace, passes, calibrate, evaluate, lower, build, link and verify, in turn.

        `calibrate` is there for INT8 alone, `evaluate` where it is asked for.
        """

    def note(self, text: str) -> None:
        """How far the stage is."""

    def warn(self, message: str) -> None:
        """A line that the user must not overlook."""


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of the model as it was loaded and, where it was pruned or quantized, of what that made of it."""

    original: Accuracy
    pruned: Accuracy | None
    quantized: Accuracy | None = None


@dataclass(frozen=True)
class CompileResult:
    """Where the package lies, its manifest, how long each stage took (seconds), and the accuracy if asked for."""

    package: Path
    manifest: Manifest
    seconds: dict[str, float]
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class _Clock:
    reporter: Reporter
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        with self.reporter.stage(name):
            yield
        self.seconds[name] = time.perf_counter() - start


def compile_package(request: CompileRequest, reporter: Reporter) -> CompileResult:
    """Compile, verify against PyTorch, and write the package.

    Raises UsageError, BadInputError, UnsupportedError, VerificationError or ResourceError; then nothing is left
    behind, and an older package in the same place is as it was.
    """
    clock = _Clock(reporter)
    target = resolve_target(request.target)
    check_cpu(target)
    pipeline = _pipeline(request)
    _check_dump_dir(request)
    if request.output is not None:
        check_destination(request.output)
    images = None if request.evaluate is None else read_labels(request.evaluate)
    toolchain = find_toolchain(target)
    with clock.stage("load"):
        model = load_model(request.model, reporter.warn)
        if images is not None:
            require_classifier(model, images)
        data = _calibration(request, model, reporter)
    output = request.output or _default_output(model, target.name, request.precision)
    check_destination(output)
    with clock.stage("trace"):
        traced = replace(trace(model.module, model.inputs, model.input_names), target=target)
    with clock.stage("passes"):
        rewritten = rewrite(request.passes, pipeline, traced, output.with_name(f"{output.name}-reproducer"))
        if rewritten.pruned is not None:
            verify_original(model, rewritten.pruned)
            _warn_of_nothing(rewritten.pruned, reporter)
    quantized = None
    if data is not None:
        with clock.stage("calibrate"):
            quantized = to_integers(rewritten.program, data, reporter.note)
    evaluation = None if images is None else _evaluate(model, rewritten, quantized, images, clock)
    with clock.stage("lower"):
        lowered = lower(rewritten.program if quantized is None else quantized.integer, target)
    with package_folder(output) as folder, tempfile.TemporaryDirectory(prefix="lwc-build-") as scratch:
        parts = Parts(model, target, request.threads, lowered, rewritten, toolchain, Path(scratch), quantized)
        with clock.stage("build"):
            parts.write_header()
            kernels = build_kernels(lowered.kernels, target)
            objects = compile_sources(
                toolchain, parts.scratch, model.name, parts.program_source(), lowered.weights, kernels
            )
        with clock.stage("link"):
            link_library(toolchain, parts.scratch, model.name, objects)
        with clock.stage("verify"):
            verification = verify_parts(parts, request.model.seed, reporter.warn)
            manifest = assemble(parts, verification, folder)
    return CompileResult(output, manifest, clock.seconds, evaluation)


def _pipeline(request: CompileRequest) -> Pipeline:
    """The passes that run before anything is quantized."""
    pipeline = request.passes.pipeline()
    if request.precision == "fp32":
        return pipeline
    return Pipeline(tuple(item for item in pipeline.passes if item.name != FLOAT_ONLY))


def _calibration(request: CompileRequest, model: LoadedModel, reporter: Reporter) -> CalibrationData | None:
    if request.calibrate is None:
        return None
    return read_calibration(request.calibrate, model, request.model.seed, reporter.warn)


def _warn_of_nothing(pruned: Pruned, reporter: Reporter) -> None:
    if pruned.pruning.before == pruned.pruning.after:
        reporter.warn("nothing was pruned; `lwc explain` with --pass zero-channels says why")


def _evaluate(
    model: LoadedModel,
    rewritten: Rewritten,
    quantized: Quantized | None,
    images: Sequence[LabelledImage],
    clock: _Clock,
) -> Evaluation:
    modules = {"original": model.module}
    if rewritten.pruned is not None:
        modules["pruned"] = rewritten.pruned.reference.module
    if quantized is not None:
        modules["quantized"] = quantized.integer.module
    with clock.stage("evaluate"):
        results = evaluate(list(modules.values()), model, images, clock.reporter.note)
    found = dict(zip(modules, results, strict=True))
    return Evaluation(found["original"], found.get("pruned"), found.get("quantized"))


def _check_dump_dir(request: CompileRequest) -> None:
    """Raises UsageError where the graphs would lie in the package, which is complete when it appears."""
    if request.passes.dump_dir is None or request.output is None:
        return
    folder, output = request.passes.dump_dir.resolve(), request.output.resolve()
    if folder.is_relative_to(output):
        raise UsageError(f"{request.passes.dump_dir}: lies in the package; choose another --dump-dir")


def _default_output(model: LoadedModel, target: str, precision: str) -> Path:
    kind = "" if precision == "fp32" else f"-{precision}"
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in target)
    return Path(f"{model.name}{kind}-{plain[:100]}")
