"""The library is self-contained: the C library is all that it needs, and its header says all that it exports."""

import re
import subprocess
from pathlib import Path

import pytest

from lwc.package.manifest import read_manifest
from tests.compiled.support import require_tool

pytestmark = pytest.mark.slow

# The loader is what every dynamic program has anyway.
ALLOWED = re.compile(r"lib(c|m|pthread)\.so\.\d+|ld-linux-[a-z0-9-]+\.so\.\d+")
GLIBC_FLOOR = (2, 28)


def readelf(*arguments: str | Path) -> str:
    command = [require_tool("readelf", "llvm-readelf"), "-W", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def library(package: Path) -> Path:
    return package / read_manifest(package).library


def symbols(path: Path) -> list[tuple[str, str, bool]]:
    """Name, version and whether defined, of each dynamic symbol."""
    rows = [line.split() for line in readelf("--dyn-syms", path).splitlines()]
    found = [row for row in rows if len(row) >= 8 and row[0].rstrip(":").isdigit()]
    return [(row[7].split("@")[0], row[7].partition("@")[2].lstrip("@"), row[6] != "UND") for row in found]


def test_it_needs_the_c_library_only(package: Path) -> None:
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("-d", library(package)))
    assert needed
    assert [name for name in needed if not ALLOWED.fullmatch(name)] == []
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("-d", package / "lwc-run"))
    assert library(package).name in needed
    assert [name for name in needed if not ALLOWED.fullmatch(name) and name != library(package).name] == []


def test_every_undefined_symbol_is_in_glibc_2_28(package: Path) -> None:
    for path in (library(package), package / "lwc-run"):
        undefined = [(name, version) for name, version, defined in symbols(path) if not defined]
        assert "memcpy" in dict(undefined) or path.name == "lwc-run"
        own = read_manifest(package).name if path.name == "lwc-run" else "nothing"
        for name, version in undefined:
            if name.startswith(f"{own}_"):
                continue
            number = re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", version)
            assert number, f"{name}@{version}"
            assert (int(number[1]), int(number[2])) <= GLIBC_FLOOR, f"{name}@{version}"
            assert not re.match(r"tvm|TVM|_Z|Py|__cxa_throw|__gxx", name)


def test_it_exports_what_the_header_declares(package: Path) -> None:
    manifest = read_manifest(package)
    header = (package / f"{manifest.name}.h").read_text()
    declared = re.findall(
        rf"^LWC_{manifest.name.upper()}_API .*?\b({manifest.name}_\w+)\(", header, re.MULTILINE
    )
    assert len(declared) == 11
    exported = [name for name, _, defined in symbols(library(package)) if defined]
    assert sorted(exported) == sorted(declared)


def test_stack_and_search_path_are_safe(package: Path) -> None:
    for path in (library(package), package / "lwc-run"):
        segments = [line.split() for line in readelf("-l", path).splitlines()]
        stack = [row for row in segments if row and row[0] == "GNU_STACK"]
        assert [row[6] for row in stack] == ["RW"]
        loaded = [" ".join(row[6:-1]) for row in segments if row and row[0] == "LOAD"]
        assert not any("W" in flags and "E" in flags for flags in loaded)
    assert not re.search(r"RPATH|RUNPATH|TEXTREL", readelf("-d", library(package)))
    assert re.findall(r"\(RUNPATH\).*\[(.+)\]", readelf("-d", package / "lwc-run")) == ["$ORIGIN"]


def test_it_is_for_its_machine_and_carries_its_name(package: Path) -> None:
    manifest = read_manifest(package)
    machine = {"x86_64": "X86-64", "aarch64": "AArch64"}[manifest.target.architecture]
    for path in (library(package), package / "lwc-run"):
        assert machine in readelf("-h", path)
    assert re.findall(r"\(SONAME\).*\[(.+)\]", readelf("-d", library(package))) == [library(package).name]


def test_its_size_is_that_of_its_weights(package: Path) -> None:
    manifest = read_manifest(package)
    size = library(package).stat().st_size
    assert manifest.files[manifest.library].bytes == size
    assert manifest.weights_bytes < size <= 4 * manifest.parameters + 400_000


def test_nothing_of_the_machine_that_compiled_it_is_inside(package: Path) -> None:
    for path in package.iterdir():
        content = path.read_bytes()
        assert b"/tmp/" not in content, path.name
        assert str(Path(__file__).parents[2]).encode() not in content, path.name
        assert str(Path.home()).encode() + b"/" not in content, path.name
