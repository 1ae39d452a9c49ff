"""How a package's program runs on this machine: natively, under qemu, or not at all, saying what to install."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lwc.errors import (
    BadInputError,
    LwcError,
    ResourceError,
    UnsupportedError,
    UsageError,
    VerificationError,
)
from lwc.package.execute import Runner, find_runner, run_program
from lwc.package.manifest import read_manifest
from lwc.package.run import find_package_runner, run_package
from lwc.package.steps import Elements
from lwc.targets.arm64 import TARGET as ARM64
from lwc.targets.x86_64_v4 import TARGET as X86

INPUT = np.zeros((1, 4), np.float32)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An x86-64 machine with AVX2, without AVX-512 and without qemu."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("lwc.package.execute.cpu_features", lambda: frozenset({"avx2", "fma", "bmi2"}))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return monkeypatch


@pytest.mark.usefixtures("machine")
def test_programs_for_this_machine_run_as_they_are() -> None:
    assert find_runner(replace(X86, cpu_features=("avx2", "fma"))) == Runner("native")


@pytest.mark.usefixtures("machine")
def test_a_missing_feature_of_the_processor_is_named() -> None:
    with pytest.raises(ResourceError, match=r"target x86-64-v4: this processor has no avx512bw"):
        find_runner(X86)


@pytest.mark.usefixtures("machine")
def test_without_qemu_the_line_says_what_to_install() -> None:
    with pytest.raises(ResourceError, match=r"qemu-aarch64 is not installed; `apt install qemu-user`"):
        find_runner(ARM64)


def test_qemu_with_and_without_the_c_library(
    machine: pytest.MonkeyPatch, package: Path, tmp_path: Path
) -> None:
    machine.setattr(shutil, "which", lambda name: f"/bin/{name}")
    machine.setattr(Path, "glob", lambda self, pattern: iter(()))
    assert find_runner(ARM64) == Runner("qemu-static", ("/bin/qemu-aarch64",))
    with pytest.raises(ResourceError, match=r"apt install libc6-arm64-cross"):
        find_package_runner(package, read_manifest(package))
    machine.setattr(Path, "glob", lambda self, pattern: iter([tmp_path]))
    assert find_runner(ARM64) == Runner("qemu", ("/bin/qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"))
    assert find_package_runner(package, read_manifest(package)).how == "qemu"


def script(package: Path, text: str) -> Path:
    program = package / "script"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


def test_the_program_gets_raw_files_and_its_output_is_read(package: Path) -> None:
    manifest = read_manifest(package)
    # $4 is the file of the input, $6 that of the output.
    program = script(package, 'test "$*" = "--threads 3 --input $4 --output $6" && head -c 12 "$4" > "$6"')
    values = np.array([[1.5, -2, 3, 4]], np.float32)
    same: list[Elements] = [values, np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2]]
    for given in same:
        (output,) = run_program(Runner("native"), program, manifest, [given], threads=3)
        assert output.tolist() == [[1.5, -2, 3]]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (2, UsageError),
        (3, BadInputError),
        (4, UnsupportedError),
        (5, VerificationError),
        (6, ResourceError),
        (139, VerificationError),
    ],
)
def test_exit_codes_are_those_of_lwc(package: Path, code: int, error: type[LwcError]) -> None:
    program = script(package, f"echo 'lwc-run: the reason' >&2; exit {code}")
    with pytest.raises(error, match=r"script: the reason$"):
        run_program(Runner("native"), program, read_manifest(package), [INPUT])


def test_a_crash_is_named_by_its_signal(package: Path) -> None:
    with pytest.raises(VerificationError, match="ended by signal 11"):
        run_program(Runner("native"), script(package, "kill -SEGV $$"), read_manifest(package), [INPUT])


def test_silence_is_named_by_its_code(package: Path) -> None:
    with pytest.raises(ResourceError, match="exit code 6"):
        run_program(Runner("native"), script(package, "exit 6"), read_manifest(package), [INPUT])


@pytest.mark.parametrize("written", ["", "head -c 11 /dev/zero", "head -c 16 /dev/zero"])
def test_an_output_of_another_size(package: Path, written: str) -> None:
    program = script(package, f'{written or ":"} > "$6"')
    with pytest.raises(VerificationError, match=r"output 'logits': .* not the 12 bytes"):
        run_program(Runner("native"), program, read_manifest(package), [INPUT])


def test_no_output_at_all(package: Path) -> None:
    with pytest.raises(VerificationError, match="output 'logits'"):
        run_program(Runner("native"), script(package, "exit 0"), read_manifest(package), [INPUT])


def test_a_program_that_cannot_start(package: Path) -> None:
    program = package / "script"
    program.write_text("#!/nowhere/sh\n")
    with pytest.raises(ResourceError, match=r"script: cannot be run \(Permission denied\)"):
        run_program(Runner("native"), program, read_manifest(package), [INPUT])
    program.chmod(0o755)
    with pytest.raises(ResourceError, match=r"script: cannot be run \(No such file"):
        run_program(Runner("native"), program, read_manifest(package), [INPUT])


def test_wrong_inputs_are_named_before_anything_runs(package: Path) -> None:
    manifest, runner = read_manifest(package), Runner("native", ("/nowhere/must-not-run",))
    with pytest.raises(UsageError, match="tiny: takes 1 inputs, 2 were given"):
        run_program(runner, package / "lwc-run", manifest, [INPUT, INPUT])
    wrongs: list[Any] = [INPUT[0], INPUT.T, INPUT.astype(np.float64), np.zeros((2, 4), np.float32)]
    for wrong in wrongs:
        with pytest.raises(BadInputError, match="input 'x'"):
            run_program(runner, package / "lwc-run", manifest, [wrong])


def test_a_changed_program_is_never_run(package: Path) -> None:
    (package / "lwc-run").write_text(f"#!/bin/sh\ntouch {package}/was-run\n")
    with pytest.raises(VerificationError, match="lwc-run"):
        run_package(package, [INPUT])
    assert not (package / "was-run").exists()
