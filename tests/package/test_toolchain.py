"""Which compiler links a package: ziglang, else the system's, else one line that says what to install."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from lwc.errors import ResourceError
from lwc.package.toolchain import Toolchain, find_static_toolchain, find_toolchain
from lwc.targets.arm64 import TARGET as ARM64
from lwc.targets.x86_64_v3 import TARGET as X86


@pytest.fixture
def without_zig(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An x86-64 machine without ziglang, and without any compiler at first."""
    monkeypatch.setattr("lwc.package.toolchain.find_spec", lambda name: None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return monkeypatch


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
def test_zig_links_every_target_with_its_floor_of_glibc() -> None:
    for target, triple in ((ARM64, "aarch64-linux-gnu.2.28"), (X86, "x86_64-linux-gnu.2.28")):
        toolchain = find_toolchain(target)
        assert toolchain.name == "ziglang"
        assert toolchain.version[0].isdigit()
        assert toolchain.command == (sys.executable, "-m", "ziglang", "cc", "-target", triple)
    static = find_static_toolchain(ARM64)
    assert static is not None
    assert static.command[-1] == "aarch64-linux-musl"


def test_without_zig_the_systems_compiler_serves(without_zig: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "gcc"
    compiler.write_text("#!/bin/sh\necho gcc 99.1\necho more\n")
    compiler.chmod(0o755)
    present = {"gcc": str(compiler), "aarch64-linux-gnu-gcc": str(compiler)}
    without_zig.setattr(shutil, "which", present.get)
    assert find_toolchain(X86) == Toolchain("gcc", "gcc 99.1", (str(compiler),))
    assert find_toolchain(ARM64) == Toolchain("aarch64-linux-gnu-gcc", "gcc 99.1", (str(compiler),))
    assert find_static_toolchain(ARM64) is None


@pytest.mark.usefixtures("without_zig")
def test_without_any_compiler_the_line_says_what_to_install() -> None:
    with pytest.raises(ResourceError, match=r"x86_64-linux-gnu: `pip install ziglang`, or install cc$"):
        find_toolchain(X86)
    with pytest.raises(ResourceError, match=r"`pip install ziglang`, or install aarch64-linux-gnu-gcc$"):
        find_toolchain(ARM64)


def fake(tmp_path: Path, text: str) -> Toolchain:
    program = tmp_path / "cc"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return Toolchain("cc", "1", (str(program),))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo a.c:1: warning: hm >&2; echo 'a.c:2: error: no space' >&2; exit 1", "a.c:2: error: no space"),
        ("echo first >&2; echo second >&2; exit 1", "first"),
        ("exit 7", "exit code 7"),
    ],
)
def test_a_failing_compiler_gives_one_line(tmp_path: Path, script: str, says: str) -> None:
    with pytest.raises(ResourceError) as caught:
        fake(tmp_path, script).run(["-c", "a.c"], tmp_path)
    assert str(caught.value).startswith(f"cc: compiling the package failed ({says})")
    assert "\n" not in str(caught.value)


def test_a_real_error_in_the_source_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(ResourceError, match=r"failed \(.*a\.c:1.*error: .*\)") as caught:
        find_toolchain(X86).run(["-c", "a.c"], tmp_path)
    assert "\n" not in str(caught.value)


def test_a_compiler_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"cc: cannot be run .*install a C compiler"):
        Toolchain("cc", "1", (str(tmp_path / "cc"),)).run(["-c", "a.c"], tmp_path)


def test_it_runs_in_the_given_folder(tmp_path: Path) -> None:
    fake(tmp_path, 'pwd -P > "$1"').run(["where"], tmp_path)
    assert (tmp_path / "where").read_text().strip() == str(tmp_path.resolve())


def test_what_it_compiles_stays_in_the_folder(tmp_path: Path) -> None:
    """Else zig would keep every model's weights in the user's cache for ever."""
    script = tmp_path / "cc"
    script.write_text('#!/bin/sh\necho "$ZIG_LOCAL_CACHE_DIR" > seen\n')
    script.chmod(0o755)
    Toolchain("cc", "1", (str(script),)).run([], tmp_path)
    assert (tmp_path / "seen").read_text().strip() == str(tmp_path / "zig-cache")
