"""Running an `lwc-run`: on this machine, or under emulation."""

import json
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from lwc.errors import BadInputError, LwcError, ResourceError, UnsupportedError, UsageError, VerificationError
from lwc.package.manifest import TensorInfo
from lwc.package.steps import Elements
from lwc.targets.gpu_at_hand import architecture_at_hand, driver_release
from lwc.targets.native import cpu_features
from lwc.targets.target import Target

How = Literal["native", "qemu", "qemu-static", "cuda", "emulated"]

_TIMEOUT = 1800  # seconds: a large model under emulation takes minutes


class Interface(Protocol):
    """What a manifest and the parts of a new package have in common."""

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> tuple[TensorInfo, ...]: ...

    @property
    def outputs(self) -> tuple[TensorInfo, ...]: ...


@dataclass(frozen=True)
class Runner:
    """How programs for a target run here: `command` stands before the program's own.

    "cuda" is a GPU of this machine; "emulated" are its kernels on the processor, which `environment` leads to.
    """

    how: How
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def find_runner(target: Target, toolkit: tuple[int, int] = (0, 0)) -> Runner:
    """How to run programs for `target` on this machine.

    "qemu-static" can run static programs only: the target's C library is not installed. `toolkit` is the CUDA release
    that compiled for a GPU. Raises ResourceError, saying what to install, where they cannot run at all.
    """
    runner = find_host_runner(target)
    if target.gpu is None:
        return runner
    if runner.how != "native":
        raise ResourceError(
            f"target {target.name}: this machine has no {target.architecture} processor beside its GPU"
        )
    at_hand, release = architecture_at_hand(), driver_release()
    if release[0] < toolkit[0]:
        raise ResourceError(
            f"target {target.name}: the NVIDIA driver is for CUDA {release[0]}, the package needs CUDA {toolkit[0]};"
            " update the driver"
        )
    if not target.gpu.runs_on(at_hand):
        raise ResourceError(
            f"target {target.name}: the GPU of this machine is of {at_hand}; compile for that one"
        )
    return replace(runner, how="cuda")


def find_host_runner(target: Target) -> Runner:
    """The same for what runs on the processor alone."""
    if target.architecture == platform.machine():
        missing = sorted(set(target.cpu_features) - cpu_features())
        if missing:
            raise ResourceError(
                f"target {target.name}: this processor has no {missing[0]}; run the package on a machine that has it"
            )
        return Runner("native")
    emulator = shutil.which(f"qemu-{target.architecture}")
    if emulator is None:
        raise ResourceError(
            f"target {target.name}: qemu-{target.architecture} is not installed; `apt install qemu-user`,"
            " or run the package on a device"
        )
    libraries = Path(f"/usr/{target.architecture}-linux-gnu")
    if any(libraries.glob("lib/ld-linux-*.so.*")):
        return Runner("qemu", (emulator, "-L", str(libraries)))
    return Runner("qemu-static", (emulator,))


def without_c_library(what: str, target: Target) -> ResourceError:
    """The error where `what` is no static program, and qemu has no C library of `target` for it."""
    debian = {"aarch64": "arm64", "x86_64": "amd64"}[target.architecture]
    return ResourceError(
        f"{what}: qemu needs the C library of {target.architecture} to run it; `apt install libc6-{debian}-cross`"
    )


def runs_natively(target: Target) -> bool:
    """Whether this machine's processor runs programs for `target`, so that their times mean something."""
    try:
        return find_runner(target).how in ("native", "cuda")
    except ResourceError:
        return False


def run_program(
    runner: Runner, program: Path, interface: Interface, inputs: Sequence[Elements], threads: int = 0
) -> tuple[Elements, ...]:
    """The outputs that `program`, the lwc-run of a model with this `interface`, gives for `inputs`."""
    _check_inputs(interface, inputs)
    with tempfile.TemporaryDirectory(prefix="lwc-run-") as folder:
        arguments = ["--threads", str(threads), *_input_arguments(inputs, Path(folder))]
        results = [Path(folder) / f"output_{index}" for index in range(len(interface.outputs))]
        for path in results:
            arguments += ["--output", str(path)]
        _execute([*runner.command, str(program.resolve()), *arguments], program, runner.environment)
        return tuple(_read_output(path, info) for path, info in zip(results, interface.outputs, strict=True))


def profile_program(
    program: Path, interface: Interface, inputs: Sequence[Elements], threads: int, repeat: int
) -> tuple[float, list[float]]:
    """Median microseconds of `repeat` runs of `program`, an lwc-run for this machine, and of each call of a kernel."""
    _check_inputs(interface, inputs)
    with tempfile.TemporaryDirectory(prefix="lwc-run-") as folder:
        arguments = ["--threads", str(threads), *_input_arguments(inputs, Path(folder))]
        command = [str(program.resolve()), *arguments, "--repeat", str(repeat), "--profile"]
        whole, calls = map(json.loads, _execute(command, program).splitlines())
    return 1e3 * whole["median_ms"], [1e-3 * nanoseconds for nanoseconds in calls["calls_ns"]]


def _input_arguments(inputs: Sequence[Elements], folder: Path) -> list[str]:
    """Writes `inputs` to `folder`; the arguments of lwc-run that name them."""
    arguments = []
    for index, array in enumerate(inputs):
        path = folder / f"input_{index}"
        path.write_bytes(np.ascontiguousarray(array).tobytes())
        arguments += ["--input", str(path)]
    return arguments


def _check_inputs(interface: Interface, inputs: Sequence[Elements]) -> None:
    if len(inputs) != len(interface.inputs):
        raise UsageError(f"{interface.name}: takes {len(interface.inputs)} inputs, {len(inputs)} were given")
    for array, info in zip(inputs, interface.inputs, strict=True):
        if array.shape != info.shape or array.dtype != info.dtype:
            raise BadInputError(
                f"input {info.name!r}: is {array.dtype} {array.shape}; give {info.dtype} {tuple(info.shape)}"
            )


def _execute(command: list[str], program: Path, environment: Sequence[tuple[str, str]] = ()) -> str:
    """Run `command`, whose exit codes are those of lwc; what it wrote to stdout."""
    try:
        variables = {**os.environ, **dict(environment)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, env=variables)
    except subprocess.TimeoutExpired:
        raise ResourceError(f"{program}: did not end within {_TIMEOUT} s; run it on a device") from None
    except OSError as error:
        raise ResourceError(
            f"{program}: cannot be run ({error.strerror}); is the folder mounted noexec?"
        ) from None
    if done.returncode == 0:
        return done.stdout
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1].removeprefix(
        "lwc-run: "
    )
    errors: dict[int, type[LwcError]] = {
        error.exit_code: error for error in (UsageError, BadInputError, UnsupportedError, ResourceError)
    }
    if done.returncode < 0:
        reason = f"ended by signal {-done.returncode}"
    raise errors.get(done.returncode, VerificationError)(f"{program}: {reason}")


def _read_output(path: Path, info: TensorInfo) -> Elements:
    content = path.read_bytes() if path.is_file() else b""
    wanted = np.dtype(info.dtype).itemsize * math.prod(info.shape)
    if len(content) != wanted:
        raise VerificationError(
            f"output {info.name!r}: {len(content)} bytes were written, not the {wanted} bytes that it has"
        )
    return np.frombuffer(content, info.dtype).reshape(info.shape)
