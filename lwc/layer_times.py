"""The times of a program's layers on this machine, before there is a package: compiled for the purpose, and run."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
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


# Median microseconds of a program's runs, and of each call of a kernel in them.
Turn = tuple[float, list[float]]
Run = Callable[[Sequence[Parts], int], list[Turn]]


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


def run_here(programs: Sequence[Parts], repeat: int) -> list[Turn]:
    """`repeat` runs of each of `programs` on this machine, one program after another."""
    return [
        profile_program(
            parts.scratch / PROGRAM_NAME, parts.interface, parts.samples[0], parts.threads, repeat
        )
        for parts in programs
    ]


def time_in_turns(programs: Sequence[Parts], run: Run = run_here) -> list[Times]:
    """The times of each of `programs`, medians over turns: what else the machine does hits all alike."""
    turns = run([*programs] * _ROUNDS, _REPEAT)
    return [_times(parts, turns[place :: len(programs)]) for place, parts in enumerate(programs)]


def _times(parts: Parts, turns: Sequence[Turn]) -> Times:
    layers: dict[str, float] = {}
    medians = np.median([calls for _, calls in turns], axis=0)
    for call, microseconds in zip(parts.lowered.calls, medians, strict=True):
        if call.layer:
            layers[call.layer] = layers.get(call.layer, 0.0) + float(microseconds)
    return Times(float(np.median([run for run, _ in turns])), layers)
