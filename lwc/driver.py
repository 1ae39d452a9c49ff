"""The whole way from a model's name to a package, stage by stage."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lwc.compile_request import CompileRequest
from lwc.errors import UsageError
from lwc.lower.lower import lower
from lwc.package.assemble import assemble
from lwc.package.compile_parts import compile_parts
from lwc.package.execute import runs_natively
from lwc.package.link import link_library
from lwc.package.manifest import Manifest
from lwc.package.parts import Parts
from lwc.package.verify_parts import verify_parts
from lwc.package.write import check_destination, package_folder
from lwc.prepare import Evaluation, Prepared, load, prepare
from lwc.reporter import Clock, Reporter
from lwc.targets.resolve import resolve_target
from lwc.tune.chosen import Chosen
from lwc.tune.circumstances import ROUNDS, circumstances_of
from lwc.tune.effort import EFFORTS
from lwc.tune.progress import Search, how_far
from lwc.tune.store import default_path, open_store, read_best
from lwc.tuning import require_devices, tune_prepared


@dataclass(frozen=True)
class CompileResult:
    """Where the package lies, its manifest, how long each stage took (seconds), and the accuracy if asked for."""

    package: Path
    manifest: Manifest
    seconds: dict[str, float]
    evaluation: Evaluation | None = None


def compile_package(request: CompileRequest, reporter: Reporter) -> CompileResult:
    """Compile, verify against PyTorch, and write the package.

    Raises UsageError, BadInputError, UnsupportedError, VerificationError or ResourceError; then nothing is left
    behind, and an older package in the same place is as it was.
    """
    clock = Clock(reporter)
    if request.tune in EFFORTS:
        require_devices(resolve_target(request.target))
    _check_dump_dir(request)
    if request.output is not None:
        check_destination(request.output)
    loaded = load(request, clock)
    model, target, toolchain, output = loaded.model, loaded.target, loaded.toolchain, loaded.output
    check_destination(output)
    prepared = prepare(loaded, clock)
    chosen = _from_records(request, prepared, clock)
    with clock.stage("lower"):
        lowered = lower(prepared.program, target, chosen)
    with package_folder(output) as folder, tempfile.TemporaryDirectory(prefix="lwc-build-") as scratch:
        parts = Parts(
            model,
            target,
            request.threads,
            lowered,
            prepared.rewritten,
            toolchain,
            Path(scratch),
            prepared.quantized,
            tuple(chosen.layers),
        )
        with clock.stage("build"):
            objects = compile_parts(parts)
        with clock.stage("link"):
            link_library(toolchain, parts.scratch, model.name, objects)
        with clock.stage("verify"):
            verification = verify_parts(parts, request.model.seed, reporter.warn)
            manifest = assemble(parts, verification, folder)
    return CompileResult(output, manifest, clock.seconds, prepared.evaluation)


def _from_records(request: CompileRequest, prepared: Prepared, clock: Clock) -> Chosen:
    """What tuning found in these circumstances, now or earlier."""
    target, path, reporter = prepared.loaded.target, default_path(), clock.reporter

    def watch(searches: Sequence[Search]) -> None:
        reporter.note(how_far(searches))

    if request.tune in EFFORTS:
        with open_store(path, reporter.warn) as store:
            tune_prepared(prepared, EFFORTS[request.tune], store, clock, watch)
    best = {}
    if request.tune != "none" and os.path.exists(path):
        # What a board's own processor is called, this machine does not know.
        elsewhere = not runs_natively(target)
        best = read_best(path, circumstances_of(target, request.threads), ROUNDS, reporter.warn, elsewhere)
    return Chosen(prepared.program, target, best)


def _check_dump_dir(request: CompileRequest) -> None:
    """Raises UsageError where the graphs would lie in the package, which is complete when it appears."""
    if request.passes.dump_dir is None or request.output is None:
        return
    folder, output = request.passes.dump_dir.resolve(), request.output.resolve()
    if folder.is_relative_to(output):
        raise UsageError(f"{request.passes.dump_dir}: lies in the package; choose another --dump-dir")
