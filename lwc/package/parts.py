"""Everything that a package is made from."""

import math
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lwc.errors import UnsupportedError
from lwc.half import run_reference_in_half
from lwc.lower.program import LoweredProgram
from lwc.models.preprocess import Preprocessing
from lwc.models.request import LoadedModel
from lwc.package import emit
from lwc.package.manifest import TensorInfo
from lwc.package.reference import Reference, Sample, run_reference, sample_count, variations
from lwc.package.steps import Steps, quantize
from lwc.package.toolchain import Toolchain
from lwc.quantize.border import Bordered, float_io
from lwc.quantizing import Quantized
from lwc.rewriting import Rewritten
from lwc.targets.target import Target


@dataclass(frozen=True)
class Parts:
    """Everything that a package is made from; the compiled files lie in `scratch`.

    `tuned_layers` are those with kernels that tuning found.
    """

    model: LoadedModel
    target: Target
    threads: int
    lowered: LoweredProgram
    rewritten: Rewritten
    toolchain: Toolchain
    scratch: Path
    quantized: Quantized | None = None
    tuned_layers: tuple[str, ...] = ()

    @cached_property
    def reference(self) -> Reference:
        """What PyTorch gives for the samples: the model, or what pruning or quantizing made of it."""
        if self.quantized is not None:
            return self.quantized.reference(self.samples)
        pruned = self.rewritten.pruned
        run = run_reference_in_half if self.is_half else run_reference
        return run(self.model.module if pruned is None else pruned.reference.module, self.samples)

    @property
    def is_half(self) -> bool:
        """Whether the tensors between kernels are float16."""
        return self.target.gpu is not None and self.target.gpu.numbers == "float16"

    @cached_property
    def samples(self) -> list[Sample]:
        """The inputs that the library is verified with; the first ones are stored in the package."""
        stored = tuple(
            quantize(np.ascontiguousarray(tensor.numpy()), info)
            for tensor, info in zip(self.model.inputs, self.interface.inputs, strict=True)
        )
        smallest = min(math.prod(info.shape) for info in self.interface.outputs)
        return variations(stored, sample_count(smallest))

    @cached_property
    def interface(self) -> emit.Interface:
        """The tensors at the package's border."""
        model, buffers = self.model, self.lowered.buffers
        inputs, outputs = (
            [buffers[index].shape for index in indices]
            for indices in (self.lowered.inputs, self.lowered.outputs)
        )
        return emit.Interface(
            model.name,
            _tensors(model.input_names, model.input_layouts, inputs, self.compiled.inputs),
            _tensors(model.output_names, model.output_layouts, outputs, self.compiled.outputs),
            self.threads,
        )

    @property
    def compiled(self) -> Bordered:
        """The program that was lowered."""
        return float_io(self.rewritten.program) if self.quantized is None else self.quantized.compiled

    @property
    def memory(self) -> emit.Memory:
        """What a context allocates."""
        of = emit.memory_of if self.target.gpu is None else emit.device_memory_of
        return of(self.lowered, self.interface)

    def write_header(self) -> None:
        """Write NAME.h into `scratch`."""
        title = f"{self.model.name}, compiled by lwc {version('lwc')} for {self.target.name}"
        gpu = None if self.target.gpu is None else self.target.gpu.architecture
        text = emit.header(self.interface, title, self._notes(), self.memory, gpu)
        (self.scratch / f"{self.model.name}.h").write_text(text)

    def program_source(self) -> str:
        """The text of program.c."""
        return emit.program(self.lowered, self.interface, self.target.cpu_features)

    def _notes(self) -> list[str]:
        lines = [f"Weights: {self.model.weights}."]
        if self.rewritten.pruned is not None:
            fraction = self.rewritten.pruned.pruning.fraction
            lines.append(f"Pruned by magnitude, {fraction:g} of the channels at most, without training anew.")
        if self.quantized is not None:
            lines.append(f"INT8, {self.quantized.quantization.origin}.")
        if self.model.preprocessing is not None:
            lines.append(f"{self.interface.inputs[0].name}: {_describe_values(self.model.preprocessing)}.")
        return lines


def _describe_values(how: Preprocessing) -> str:
    channels = "BGR" if how.bgr else "RGB"
    value = f"x * {how.rescale:.9g}"
    if how.mean is None or how.std is None:
        return f"{channels} pixels x from 0 to 255 as {value}"
    means, deviations = (", ".join(f"{v:g}" for v in values) for values in (how.mean, how.std))
    return f"{channels} pixels x from 0 to 255 as ({value} - mean) / std, mean ({means}), std ({deviations})"


def _tensors(
    names: tuple[str, ...],
    layouts: tuple[str, ...],
    shapes: list[tuple[int, ...]],
    steps: tuple[Steps, ...],
) -> tuple[TensorInfo, ...]:
    if len(names) > emit.MAX_TENSORS:
        raise UnsupportedError(
            f"{len(names)} inputs or outputs: a library has at most {emit.MAX_TENSORS}; join some"
        )
    return tuple(_tensor(*each) for each in zip(names, layouts, shapes, steps, strict=True))


def _tensor(name: str, layout: str, shape: tuple[int, ...], steps: Steps) -> TensorInfo:
    if 0 in shape or len(shape) > emit.MAX_RANK:
        raise UnsupportedError(
            f"{name!r} has the shape {shape}: inputs and outputs have elements and at most {emit.MAX_RANK} axes"
        )
    return TensorInfo(name=name, shape=shape, layout=layout, **vars(steps))
