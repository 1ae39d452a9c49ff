"""The whole way from a model's name to a package, stage by stage."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import lwc.ops  # noqa: F401  registers the operators
from lwc.lower.build import build_kernels
from lwc.lower.lower import lower
from lwc.models.load import load_model
from lwc.models.request import LoadedModel, ModelRequest
from lwc.package.assemble import assemble
from lwc.package.link import compile_sources, link_library
from lwc.package.manifest import Manifest
from lwc.package.parts import Parts
from lwc.package.toolchain import find_toolchain
from lwc.package.verify_parts import verify_parts
from lwc.package.write import check_destination, package_folder
from lwc.rewriting import PassOptions, rewrite
from lwc.targets.resolve import resolve_target
from lwc.trace import trace
from lwc.tvm_api import check_cpu


@dataclass(frozen=True)
class CompileRequest:
    """What to compile, for which machine, and where to.

    `output` None: MODEL-TARGET/ in the current folder; `threads` 0: the device decides.
    """

    model: ModelRequest
    target: str = "native"
    output: Path | None = None
    passes: PassOptions = field(default_factory=PassOptions)
    threads: int = 0


class Reporter(Protocol):
    """Who is told of the progress."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Entered for each of load, trace, passes, lower, build, link and verify, in this order."""

    def warn(self, message: str) -> None:
        """A line that the user must not overlook."""


@dataclass(frozen=True)
class CompileResult:
    """Where the package lies, its manifest, and how long each stage took (seconds)."""

    package: Path
    manifest: Manifest
    seconds: dict[str, float]


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
    pipeline = request.passes.pipeline()
    if request.output is not None:
        check_destination(request.output)
    toolchain = find_toolchain(target)
    with clock.stage("load"):
        model = load_model(request.model, reporter.warn)
    output = request.output or _default_output(model, target.name)
    check_destination(output)
    with clock.stage("trace"):
        traced = replace(trace(model.module, model.inputs, model.input_names), target=target)
    with clock.stage("passes"):
        rewritten = rewrite(request.passes, pipeline, traced, output.with_name(f"{output.name}-reproducer"))
    with clock.stage("lower"):
        lowered = lower(rewritten.program, target)
    with package_folder(output) as folder, tempfile.TemporaryDirectory(prefix="lwc-build-") as scratch:
        parts = Parts(model, target, request.threads, lowered, rewritten.records, toolchain, Path(scratch))
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
    return CompileResult(output, manifest, clock.seconds)


def _default_output(model: LoadedModel, target: str) -> Path:
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in target)
    return Path(f"{model.name}-{plain[:100]}")
