"""What `lwc compile` says of the package that it made."""

import shlex
from collections.abc import Iterator

from lwc.cli.accuracy import (
    evaluation_document,
    evaluation_facts,
    pruning_document,
    pruning_facts,
)
from lwc.cli.output import emit, emit_json, printable
from lwc.cli.quantization import quantization_facts
from lwc.cli.units import short_bytes, short_count, short_float, short_seconds, short_shape
from lwc.driver import CompileResult
from lwc.package.manifest import Manifest, OutputCheck, TensorInfo


def emit_summary(result: CompileResult, seconds: float, as_json: bool) -> None:
    """Writes the summary to stdout, as text or as JSON; `seconds` is what it all took."""
    if as_json:
        emit_json(_document(result, seconds))
        return
    facts = [*_facts(result, seconds)]
    width = max(len(name) for name, _ in facts)
    emit("")
    for name, value in facts:
        emit(f"{name:<{width}}  {printable(value)}")
    emit("")
    emit(_next_steps(result))


def _facts(result: CompileResult, seconds: float) -> Iterator[tuple[str, str]]:
    manifest = result.manifest
    target = manifest.target
    yield "package", str(result.package)
    yield "target", f"{target.name} ({target.description})"
    yield "weights", _weights(manifest)
    yield "input", ", ".join(map(_tensor, manifest.inputs))
    yield "output", ", ".join(map(_tensor, manifest.outputs))
    yield "parameters", short_count(manifest.parameters)
    yield "MACs", short_count(manifest.macs)
    yield from pruning_facts(manifest)
    if manifest.tuned_layers:
        yield "tuned kernels", f"{len(manifest.tuned_layers)} layers"
    yield from quantization_facts(manifest)
    if result.evaluation is not None:
        yield from evaluation_facts(result.evaluation)
    if target.gpu is not None:
        yield "kernels", f"{len(manifest.calls)} a run"
    yield "package size", short_bytes(_package_bytes(manifest))
    yield "library size", short_bytes(manifest.files[manifest.library].bytes)
    yield "memory", _memory(manifest)
    for check in manifest.verification.outputs:
        yield "verification", _check(check, manifest.verification.how)
    yield "time", short_seconds(seconds)


def _tensor(info: TensorInfo) -> str:
    text = f"{info.name} {short_shape(info.shape)} {info.dtype}"
    if info.dtype == "float32":
        return text
    return f"{text} (scale {short_float(info.scale)}, zero point {info.zero_point})"


def _memory(manifest: Manifest) -> str:
    context, thread = short_bytes(manifest.memory_bytes), short_bytes(manifest.thread_bytes)
    if manifest.target.gpu is not None:
        return f"{context} of the GPU's a context, and {short_bytes(manifest.weights_bytes)} for all of them"
    return f"{context} a context and at most {thread} a thread, beside the library"


def _weights(manifest: Manifest) -> str:
    if manifest.weights == "random":
        return "random: good for measuring speed, not for classifying"
    return manifest.weights


def _check(check: OutputCheck, how: str) -> str:
    if check.rms_error is None:
        return f"{check.name}: {how}; `lwc verify` does it where the target's code runs"
    error, limit = short_float(check.rms_error), short_float(check.rms_limit)
    return f"{check.name}: error {error}, limit {limit} (root mean square), {_how(how)}"


def _how(how: str) -> str:
    ways = {
        "native": "run natively",
        "qemu": "run under qemu",
        "qemu-static": "run under qemu-static",
        "cuda": "run on this machine's GPU",
        "emulated": "its kernels run on the processor",
    }
    return ways.get(how, how)


def _next_steps(result: CompileResult) -> str:
    package = shlex.quote(printable(str(result.package)))
    sample = "IMAGE" if result.manifest.preprocessing else "INPUT.npy"
    return f"next: lwc run {package} --input {sample}\n      lwc verify {package}"


def _package_bytes(manifest: Manifest) -> int:
    return sum(file.bytes for file in manifest.files.values())


def _document(result: CompileResult, seconds: float) -> dict[str, object]:
    manifest = result.manifest
    return {
        "package": str(result.package),
        "name": manifest.name,
        "target": manifest.target.name,
        "weights": manifest.weights,
        "inputs": [info.model_dump(mode="json") for info in manifest.inputs],
        "outputs": [info.model_dump(mode="json") for info in manifest.outputs],
        "parameters": manifest.parameters,
        "macs": manifest.macs,
        "pruning": pruning_document(manifest),
        "quantization": None
        if manifest.quantization is None
        else manifest.quantization.model_dump(mode="json"),
        "tuned_layers": list(manifest.tuned_layers),
        "evaluation": None if result.evaluation is None else evaluation_document(result.evaluation),
        "package_bytes": _package_bytes(manifest),
        "library_bytes": manifest.files[manifest.library].bytes,
        "memory_bytes": manifest.memory_bytes,
        "thread_bytes": manifest.thread_bytes,
        "verification": manifest.verification.model_dump(mode="json"),
        "seconds": {name: round(value, 3) for name, value in result.seconds.items()},
        "total_seconds": round(seconds, 3),
    }
