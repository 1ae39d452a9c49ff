"""Compiling models for tests, and the comparison that every package has to stand."""

import contextlib
import shutil
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import lwc
from lwc.compile_request import CompileRequest
from lwc.driver import CompileResult, compile_package
from lwc.errors import ResourceError
from lwc.models.request import ModelRequest
from lwc.package.execute import find_host_runner
from lwc.package.manifest import OutputCheck, read_manifest
from lwc.package.reference import run_reference
from lwc.package.run import run_package
from lwc.package.verify import check_output, require_agreement, verify_package
from lwc.rewriting import PassOptions
from lwc.targets.resolve import resolve_target
from tests.programs import Shape, random_inputs, randomize

Array = NDArray[np.float32]

# Channels and sizes that no vector divides.
MAP: Shape = (1, 6, 9, 11)


class Recorder:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.stages.append(name)
        yield

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def compile_to(
    output: Path | None,
    model: str,
    target: str = "native",
    *,
    passes: str = "default",
    threads: int = 0,
    reporter: Recorder | None = None,
    prune: float | None = None,
    evaluate: Path | None = None,
    precision: str | None = None,
    calibrate: Path | None = None,
    **options: Any,
) -> CompileResult:
    """Compile `model` with random weights, or what `options` of ModelRequest say."""
    if ":" not in model and not model.endswith(".pt2"):
        options = {"weights": "random"} | options
    request = CompileRequest(
        ModelRequest(model, **options),
        target,
        output,
        PassOptions(passes, prune=prune),
        threads,
        evaluate,
        precision,
        None if calibrate is None else str(calibrate),
    )
    return compile_package(request, reporter or Recorder())


def compile_module(
    output: Path, module: nn.Module, inputs: Sequence[torch.Tensor], target: str = "native", **options: Any
) -> CompileResult:
    """Compile `module` as `package.module:factory`; the library gets the output folder's name."""
    name = output.name.replace("-", "_")
    holder = types.ModuleType("models_of_the_test")
    setattr(holder, name, lambda: (module, tuple(inputs)))
    sys.modules[holder.__name__] = holder
    try:
        return compile_to(output, f"{holder.__name__}:{name}", target, **options)
    finally:
        del sys.modules[holder.__name__]


def require_runner(target: str) -> None:
    """Skips the test where this machine cannot run packages for `target`, and says why."""
    try:
        runner = find_host_runner(resolve_target(target))
    except ResourceError as error:
        pytest.skip(str(error))
    if runner.how == "qemu-static":
        pytest.skip("qemu has no C library for the target; `apt install libc6-arm64-cross`")


def require_tool(*names: str) -> str:
    """The first of the programs `names` that is there; skips the test where none is."""
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.skip(f"{' or '.join(names)} is not installed")


def random_image(rng: torch.Generator) -> Array:
    """An input of the packages in conftest.py."""
    return torch.randn((1, 3, 128, 128), generator=rng).numpy()


def results(package: Path, *inputs: Array) -> tuple[Array, ...]:
    """The package's outputs: through `lwc.load` where it is for this machine, else through its lwc-run."""
    if read_manifest(package).target.name != "native":
        return run_package(package, inputs)
    model = lwc.load(package)
    try:
        return model.context().run(*inputs)
    finally:
        model.close()


def compare(package: Path, module: nn.Module, inputs: Sequence[torch.Tensor]) -> tuple[OutputCheck, ...]:
    """On `inputs` the package gives what PyTorch gives, by lwc's rule, in the shapes that PyTorch gives."""
    sample = tuple(value.numpy() for value in inputs)
    reference = run_reference(module, [sample])
    actual = [given[None] for given in results(package, *sample)]
    assert [given.shape for given in actual] == [wanted.shape for wanted in reference.float64]
    names = [info.name for info in read_manifest(package).outputs]
    checks = tuple(map(check_output, names, actual, reference.float64, reference.float32))
    require_agreement(checks, package.name)
    return checks


def agrees(
    folder: Path,
    name: str,
    module: nn.Module,
    *shapes: Shape,
    rng: torch.Generator,
    target: str = "native",
    passes: str = "default",
) -> None:
    """Compiles `module` with random parameters, and compares on the stored sample and on fresh inputs."""
    randomize(module, rng)
    result = compile_module(folder / name, module, random_inputs(shapes, rng), target, passes=passes)
    package = result.package
    verify_package(package)
    still: list[str] = []
    # The few numbers of a small output can lie close by chance: then other inputs tell.
    for _ in range(3):
        checks = compare(package, module, random_inputs(shapes, rng))
        # Where an output varies no more than its error may be, agreement proves nothing; a scalar does not vary.
        still = [c.name for c in checks if c.deviation != 0 and not c.deviation > 1000 * c.rms_limit]
        if not still:
            return
    pytest.fail(f"outputs that hardly vary: {still}")
