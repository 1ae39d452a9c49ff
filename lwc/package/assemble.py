"""What a package is made of: from compiled parts in a scratch folder to checked files and their manifest."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lwc.errors import ResourceError, UnsupportedError
from lwc.lower.program import LoweredProgram
from lwc.models.count import count
from lwc.models.preprocess import Preprocessing
from lwc.models.request import LoadedModel
from lwc.package import emit
from lwc.package.execute import Runner, find_runner, run_program
from lwc.package.link import link_static_program
from lwc.package.manifest import (
    MANIFEST_NAME,
    PROGRAM_NAME,
    Manifest,
    PassEntry,
    TensorInfo,
    Verification,
    dump_manifest,
    hash_file,
    sample_name,
)
from lwc.package.toolchain import Toolchain, find_static_toolchain
from lwc.package.verify import Reference, check_output, require_agreement, run_reference
from lwc.pipeline import PassRecord
from lwc.targets.target import Target


@dataclass(frozen=True)
class Parts:
    """Everything that a package is made from; the compiled files lie in `scratch`."""

    model: LoadedModel
    target: Target
    threads: int
    lowered: LoweredProgram
    records: tuple[PassRecord, ...]
    toolchain: Toolchain
    scratch: Path

    @cached_property
    def reference(self) -> Reference:
        """What PyTorch gives for the sample inputs."""
        return run_reference(self.model.module, self.model.inputs)

    @cached_property
    def samples(self) -> tuple[NDArray[np.float32], ...]:
        """The sample inputs."""
        return tuple(np.ascontiguousarray(tensor.numpy()) for tensor in self.model.inputs)

    @cached_property
    def interface(self) -> emit.Interface:
        """The tensors at the package's border."""
        model, lowered = self.model, self.lowered
        return emit.Interface(
            model.name,
            _tensors(model.input_names, model.input_layouts, lowered.inputs, lowered),
            _tensors(model.output_names, model.output_layouts, lowered.outputs, lowered),
            self.threads,
        )

    @property
    def memory(self) -> emit.Memory:
        """What a context allocates."""
        return emit.memory_of(self.lowered, self.interface)

    def write_header(self) -> None:
        """Write NAME.h into `scratch`."""
        title = f"{self.model.name}, compiled by lwc {version('lwc')} for {self.target.name}"
        text = emit.header(self.interface, title, self._notes(), self.memory)
        (self.scratch / f"{self.model.name}.h").write_text(text)

    def program_source(self) -> str:
        """The text of program.c."""
        return emit.program(self.lowered, self.interface, self.target.cpu_features)

    def _notes(self) -> list[str]:
        lines = [f"Weights: {self.model.weights}."]
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
    names: tuple[str, ...], layouts: tuple[str, ...], indices: tuple[int, ...], lowered: LoweredProgram
) -> tuple[TensorInfo, ...]:
    if len(names) > emit.MAX_TENSORS:
        raise UnsupportedError(
            f"{len(names)} inputs or outputs: a library has at most {emit.MAX_TENSORS}; join some"
        )
    return tuple(
        _tensor(name, layout, lowered.buffers[index].shape)
        for name, layout, index in zip(names, layouts, indices, strict=True)
    )


def _tensor(name: str, layout: str, shape: tuple[int, ...]) -> TensorInfo:
    if 0 in shape or len(shape) > emit.MAX_RANK:
        raise UnsupportedError(
            f"{name!r} has the shape {shape}: inputs and outputs have elements and at most {emit.MAX_RANK} axes"
        )
    return TensorInfo(name=name, dtype="float32", shape=shape, layout=layout)


def verify_parts(parts: Parts, seed: int, warn: Callable[[str], None]) -> Verification:
    """Run the new `lwc-run` on the sample and compare; where it cannot run here, `warn` says why.

    Raises VerificationError where the outputs disagree with PyTorch's.
    """
    runner: Runner | None = None
    try:
        runner = find_runner(parts.target)
    except ResourceError as error:
        warn(f"not verified: {error}")
    names = [info.name for info in parts.interface.outputs]
    actual = [None] * len(names) if runner is None else _run(parts, runner, seed)
    reference = parts.reference
    checks = tuple(map(check_output, names, actual, reference.float64, reference.float32))
    require_agreement(checks, parts.model.name)
    return Verification(how="not run" if runner is None else runner.how, seed=seed, outputs=checks)


def _run(parts: Parts, runner: Runner, seed: int) -> list[NDArray[np.float32]]:
    program = parts.scratch / PROGRAM_NAME
    if runner.how == "qemu-static":
        static = find_static_toolchain(parts.target)
        if static is None:
            raise ResourceError(f"target {parts.target.name}: to verify under qemu, `pip install ziglang`")
        program = link_static_program(static, parts.scratch, parts.model.name)
    return list(run_program(runner, program, parts.interface, parts.samples))


def assemble(parts: Parts, verification: Verification, folder: Path) -> Manifest:
    """Copy the finished files to `folder`, write the samples, the example and the manifest."""
    name = parts.model.name
    for file in (f"lib{name}.so", f"{name}.h", PROGRAM_NAME):
        shutil.copy2(parts.scratch / file, folder / file)
    (folder / "example.c").write_text(emit.example(parts.interface))
    for index, sample in enumerate(parts.samples):
        np.save(folder / sample_name("sample_input", index), sample)
    for index, expected in enumerate(parts.reference.float64):
        np.save(folder / sample_name("expected_output", index), expected.astype(np.float32))
    manifest = _describe(parts, verification, folder)
    (folder / MANIFEST_NAME).write_text(dump_manifest(manifest))
    return manifest


def _describe(parts: Parts, verification: Verification, folder: Path) -> Manifest:
    model, counts = parts.model, count(parts.model.module, parts.model.inputs)
    return Manifest(
        name=model.name,
        source=model.source,
        weights=model.weights,
        inputs=parts.interface.inputs,
        outputs=parts.interface.outputs,
        preprocessing=model.preprocessing,
        labels=model.labels,
        target=parts.target,
        tools=_tools(parts.toolchain),
        passes=tuple(PassEntry(name=r.name, count=r.count, refusals=len(r.refusals)) for r in parts.records),
        macs=counts.macs,
        parameters=counts.parameters,
        weights_bytes=len(parts.lowered.weights),
        memory_bytes=parts.memory.context,
        thread_bytes=parts.memory.thread,
        threads=parts.threads,
        verification=verification,
        files={path.name: hash_file(path) for path in sorted(folder.iterdir())},
    )


def _tools(toolchain: Toolchain) -> dict[str, str]:
    packages = ("lwc", "torch", "apache-tvm", "apache-tvm-ffi", "transformers", "numpy")
    tools = {package: version(package) for package in packages}
    return {"python": platform.python_version(), **tools, toolchain.name: toolchain.version}
