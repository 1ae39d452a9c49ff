"""The C runtime under sanitizers, with a program of two kernels written by hand (affine.c)."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lwc.package import emit
from lwc.package.manifest import TensorInfo

HERE = Path(__file__).parent
RUNTIME = HERE.parents[1] / "lwc" / "runtime"
SOURCES = (
    *("api.c", "check.c", "clock.c", "context.c", "cpu.c"),
    *("error.c", "finite.c", "input.c", "memory.c", "pool.c"),
)
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-fno-omit-frame-pointer", "-pthread")


def tensor(name: str) -> TensorInfo:
    return TensorInfo(name=name, dtype="float32", shape=(64,), layout="dims")


@pytest.fixture
def compiler() -> str:
    """A system compiler: zig's has no runtime of the sanitizers."""
    path = shutil.which("gcc") or shutil.which("clang")
    if path is None:
        pytest.skip("no gcc or clang on this machine")
    return path


def build(compiler: str, folder: Path, *options: str) -> Path:
    interface = emit.Interface("affine", (tensor("x"),), (tensor("z"),), threads=2)
    (folder / "affine.h").write_text(emit.header(interface, "affine", ["A test."], emit.Memory(768, 256)))
    program = folder / "api_test"
    definitions = ('-DLWC_HEADER="affine.h"', "-DLWC_PREFIX=affine_", f"-I{folder}", f"-I{RUNTIME}")
    sources = [
        str(path) for path in (*map(RUNTIME.joinpath, SOURCES), HERE / "affine.c", HERE / "api_test.c")
    ]
    command = [compiler, *FLAGS, *options, *definitions, "-o", str(program), *sources, "-lm"]
    subprocess.run(command, check=True, timeout=120)
    return program


def run(program: Path, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "ERROR" not in done.stderr
    return done.stdout


def test_right_and_wrong_calls_under_address_and_undefined_behaviour_sanitizers(
    compiler: str, tmp_path: Path
) -> None:
    program = build(compiler, tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    assert "served" in run(program)


def test_threads_do_not_race(compiler: str, tmp_path: Path) -> None:
    program = build(compiler, tmp_path, "-fsanitize=thread")
    # ThreadSanitizer does not follow a fork of a process with threads.
    assert "served" in run(program, "no-fork")


def test_the_header_is_valid_cpp(compiler: str, tmp_path: Path) -> None:
    build(compiler, tmp_path)
    (tmp_path / "use.cpp").write_text(
        '#include "affine.h"\nint main() { return affine_last_error() == nullptr; }\n'
    )
    command = [compiler, "-x", "c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "use.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
