"""A small program that runs a layer with several kernels, one after another: what a tuner measures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx

from lwc.lower.build import build_kernels
from lwc.lower.layer import layer_name
from lwc.lower.lower import lower
from lwc.lower.program import LoweredProgram
from lwc.package import emit
from lwc.package.link import compile_program, compile_runtime, link_library, runtime_objects
from lwc.package.manifest import PROGRAM_NAME, TensorInfo
from lwc.package.reference import run_reference, sample_count, variations
from lwc.package.toolchain import Toolchain
from lwc.targets.kernels.search_space import with_choice
from lwc.tune.alone import copies, inputs_of
from lwc.tune.trials import Built, Trials

_NAME = "trial"
# What a built program needs to run.
FILES = (PROGRAM_NAME, f"lib{_NAME}.so")


def prepare_runtime(toolchain: Toolchain, folder: Path) -> Path:
    """`folder` with the runtime's object files, which all trials of a target share; compiled where it is new.

    Raises ResourceError where they cannot be compiled.
    """
    if folder.is_dir():
        return folder
    new = folder.with_suffix(".new")
    new.mkdir()
    port = (_tensor("any", (1,)),)
    header = emit.header(emit.Interface(_NAME, port, port, 0), _NAME, (), emit.Memory(0, 0))
    (new / f"{_NAME}.h").write_text(header)
    compile_runtime(toolchain, new, _NAME)
    return new.rename(folder)


def build_trials(trials: Trials, folder: Path) -> Built:
    """Compile `trials` in `folder`.

    Raises what templates, TVM and LLVM raise for a kernel that they cannot make.
    """
    rng = torch.Generator().manual_seed(trials.seed)
    program = copies(trials.call, 1 + len(trials.choices), inputs_of(trials.call, rng))

    def choose(node: fx.Node, kernel: Any) -> Any:
        index = int(layer_name(node))
        if index == 0:
            return kernel
        chosen = with_choice(kernel, trials.choices[index - 1], trials.target)
        if chosen is None:
            raise ValueError(f"{dict(trials.choices[index - 1])}: no such kernel")
        return chosen

    lowered = lower(program, trials.target, choose)
    shown = _interface(lowered, program.input_names)
    (folder / f"{_NAME}.h").write_text(emit.header(shown, _NAME, (), emit.memory_of(lowered, shown)))
    source = emit.program(lowered, shown, trials.target.cpu_features)
    kernels = build_kernels(lowered.kernels, trials.target)
    own = compile_program(trials.toolchain, folder, _NAME, source, lowered.weights, kernels)
    for file in trials.runtime.glob("*.o"):
        (folder / file.name).hardlink_to(file)
    link_library(trials.toolchain, folder, _NAME, (*own, *runtime_objects()))
    inputs = tuple(np.ascontiguousarray(tensor.numpy()) for tensor in program.inputs)
    owners = tuple(int(call.layer or -1) for call in lowered.calls)
    if not trials.checked:
        return Built(folder, shown, (inputs,), owners, None)
    smallest = min(math.prod(output.shape) for output in shown.outputs)
    samples = tuple(variations(inputs, sample_count(smallest)))
    return Built(folder, shown, samples, owners, run_reference(program.module, samples))


def _interface(lowered: LoweredProgram, names: Sequence[str]) -> emit.Interface:
    inputs = [
        _tensor(name, lowered.buffers[index].shape) for name, index in zip(names, lowered.inputs, strict=True)
    ]
    outputs = [
        _tensor(f"output_{place}", lowered.buffers[index].shape)
        for place, index in enumerate(lowered.outputs)
    ]
    return emit.Interface(_NAME, tuple(inputs), tuple(outputs), 0)


def _tensor(name: str, shape: tuple[int, ...]) -> TensorInfo:
    return TensorInfo(name=name, dtype="float32", shape=shape, layout=",".join("?" * len(shape)))
