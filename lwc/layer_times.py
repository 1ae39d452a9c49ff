"""The times of a program's layers on this machine, before there is a package: compiled for the purpose, and run."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lwc.lower.choose import Choose, as_planned
from lwc.lower.lower import lower
from lwc.models.request import LoadedModel
from lwc.package.compile_parts import compile_parts
from lwc.package.execute import profile_program, runs_natively
from lwc.package.link import link_library
from lwc.package.manifest import PROGRAM_NAME
from lwc.package.parts import Parts
from lwc.package.toolchain import Toolchain
from lwc.rewriting import Rewritten
from lwc.targets.target import Target
from lwc.trace import Program

_ROUNDS, _REPEAT = 5, 30


@dataclass(frozen=True)
class Times:
    """Median microseconds of a whole run, and of the calls of each layer's kernels, by the layer's name."""

    run: float
    layers: dict[str, float]


@dataclass(frozen=True)
class LayerTimer:
    """Compiles forms of a model's program below `folder` for `target`, which runs natively here, and times them."""

    model: LoadedModel
    target: Target
    threads: int
    rewritten: Rewritten
    toolchain: Toolchain
    folder: Path

    def compiled(self, name: str, program: Program, choose: Choose = as_planned) -> Parts:
        """`program`, ready to run in a folder called `name`, with the kernels that `choose` takes."""
        scratch = self.folder / name
        scratch.mkdir()
        lowered = lower(program, self.target, choose)
        parts = Parts(self.model, self.target, self.threads, lowered, self.rewritten, self.toolchain, scratch)
        link_library(self.toolchain, scratch, self.model.name, compile_parts(parts))
        return parts


@contextmanager
def layer_timer(
    model: LoadedModel, target: Target, threads: int, rewritten: Rewritten, toolchain: Toolchain
) -> Iterator[LayerTimer | None]:
    """A timer, whose files are gone after it; None where `target`'s programs do not run natively here."""
    if not runs_natively(target):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="lwc-times-") as folder:
        yield LayerTimer(model, target, threads, rewritten, toolchain, Path(folder))


def time_in_turns(programs: Sequence[Parts]) -> list[Times]:
    """The times of each of `programs`, medians over turns: what else the machine does hits all alike."""
    rounds = [[_run(parts) for parts in programs] for _ in range(_ROUNDS)]
    return [_times(parts, own) for parts, own in zip(programs, zip(*rounds, strict=True), strict=True)]


def _run(parts: Parts) -> tuple[float, list[float]]:
    return profile_program(
        parts.scratch / PROGRAM_NAME, parts.interface, parts.samples[0], parts.threads, _REPEAT
    )


def _times(parts: Parts, turns: Sequence[tuple[float, list[float]]]) -> Times:
    layers: dict[str, float] = {}
    medians = np.median([calls for _, calls in turns], axis=0)
    for call, microseconds in zip(parts.lowered.calls, medians, strict=True):
        if call.layer:
            layers[call.layer] = layers.get(call.layer, 0.0) + float(microseconds)
    return Times(float(np.median([run for run, _ in turns])), layers)
