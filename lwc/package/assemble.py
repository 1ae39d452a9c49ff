"""From the compiled parts of a package to its files and their manifest."""

import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lwc.cuda.find import find_compiler
from lwc.lower.program import KernelCall, LoweredProgram
from lwc.models.count import count
from lwc.package import emit
from lwc.package.manifest import (
    DEVICE_SOURCE,
    MANIFEST_NAME,
    PROGRAM_NAME,
    CallEntry,
    Manifest,
    PassEntry,
    Verification,
    dump_manifest,
    hash_file,
    sample_name,
)
from lwc.package.parts import Parts
from lwc.package.toolchain import Toolchain
from lwc.pipeline import PassRecord
from lwc.targets.target import Target


def assemble(parts: Parts, verification: Verification, folder: Path) -> Manifest:
    """Copy the finished files to `folder`, write the samples, the example and the manifest."""
    name = parts.model.name
    for file in (f"lib{name}.so", f"{name}.h", PROGRAM_NAME):
        shutil.copy2(parts.scratch / file, folder / file)
    if parts.target.gpu is not None:
        shutil.copy2(parts.scratch / DEVICE_SOURCE, folder / DEVICE_SOURCE)
    (folder / "example.c").write_text(emit.example(parts.interface))
    for index, sample in enumerate(parts.samples[0]):
        np.save(folder / sample_name("sample_input", index), sample)
    outputs = zip(parts.interface.outputs, parts.reference.float64, strict=True)
    for index, (info, (expected, *_)) in enumerate(outputs):
        np.save(folder / sample_name("expected_output", index), expected.astype(info.dtype))
    manifest = _describe(parts, verification, folder)
    (folder / MANIFEST_NAME).write_text(dump_manifest(manifest))
    return manifest


def _describe(parts: Parts, verification: Verification, folder: Path) -> Manifest:
    model, counts = parts.model, count(parts.model.module, parts.model.inputs)
    pruning = None if parts.rewritten.pruned is None else parts.rewritten.pruned.pruning
    integer_passes = () if parts.quantized is None else parts.quantized.records
    return Manifest(
        name=model.name,
        source=model.source,
        weights=model.weights,
        inputs=parts.interface.inputs,
        outputs=parts.interface.outputs,
        preprocessing=model.preprocessing,
        labels=model.labels,
        target=parts.target,
        tools=_tools(parts.toolchain, parts.target),
        passes=tuple(map(_pass_entry, (*parts.rewritten.records, *integer_passes))),
        calls=tuple(_call_entry(call, parts.lowered) for call in parts.lowered.calls),
        tuned_layers=parts.tuned_layers,
        pruning=pruning,
        quantization=None if parts.quantized is None else parts.quantized.quantization,
        macs=counts.macs - (pruning.removed_macs if pruning else 0),
        parameters=counts.parameters - (pruning.removed_parameters if pruning else 0),
        weights_bytes=len(parts.lowered.weights),
        memory_bytes=parts.memory.context,
        thread_bytes=parts.memory.thread,
        threads=parts.threads,
        verification=verification,
        files={path.name: hash_file(path) for path in sorted(folder.iterdir())},
    )


def _pass_entry(record: PassRecord) -> PassEntry:
    notes = tuple(f"{note.node}: {note.text}" for note in record.notes)
    return PassEntry(name=record.name, count=record.count, refusals=len(record.refusals), notes=notes)


def _call_entry(call: KernelCall, lowered: LoweredProgram) -> CallEntry:
    operands = sum(lowered.buffers[index].bytes for index in call.arguments)
    kernel = call.symbol.removeprefix("__tvm_ffi_")
    return CallEntry(kernel=kernel, layer=call.layer, macs=call.macs, bytes=operands)


def _tools(toolchain: Toolchain, target: Target) -> dict[str, str]:
    packages = ("lwc", "torch", "torchao", "apache-tvm", "apache-tvm-ffi", "transformers", "numpy")
    tools = {package: version(package) for package in packages}
    if target.gpu is not None:
        compiler = find_compiler()
        tools[compiler.name] = ".".join(map(str, compiler.toolkit))
    return {"python": platform.python_version(), **tools, toolchain.name: toolchain.version}
