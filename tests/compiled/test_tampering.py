"""A package that was changed after it was made is refused before anything of it is loaded or run."""

import _ctypes
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import lwc
from lwc.errors import BadInputError, LwcError, VerificationError
from lwc.package.manifest import MANIFEST_NAME, hash_file, read_manifest
from lwc.package.run import run_package
from lwc.package.verify import verify_package
from tests.compiled.conftest import Copy
from tests.compiled.support import Array

pytestmark = pytest.mark.slow


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test where a library is loaded or a program started."""

    def forbidden(*arguments: object, **options: object) -> None:
        pytest.fail("a changed package was used")

    monkeypatch.setattr("ctypes.CDLL", forbidden)
    monkeypatch.setattr("subprocess.run", forbidden)


def refused(package: Path, image: Array, error: type[LwcError], name: str) -> None:
    uses: list[Callable[[], object]] = [
        lambda: lwc.load(package),
        lambda: verify_package(package),
        lambda: run_package(package, (image,)),
    ]
    for use in uses:
        with pytest.raises(error, match=name) as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("nothing_runs")
def test_one_changed_byte_in_each_file(native: Path, copy: Copy, image: Array, rng: torch.Generator) -> None:
    package = copy(native)
    for name in read_manifest(package).files:
        path = package / name
        content = path.read_bytes()
        place = int(torch.randint(len(content), (), generator=rng))
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        refused(package, image, VerificationError, name)
        path.write_bytes(content[:place])
        refused(package, image, VerificationError, name)
        path.write_bytes(content + b"\n")
        refused(package, image, VerificationError, name)
        path.unlink()
        refused(package, image, BadInputError, name)
        path.symlink_to(native / name)
        refused(package, image, BadInputError, name)
        path.unlink()
        path.write_bytes(content)


@pytest.mark.usefixtures("nothing_runs")
def test_one_changed_bit_anywhere_in_the_manifest(
    native: Path, copy: Copy, image: Array, rng: torch.Generator
) -> None:
    """It is refused, or says the same of the files: what is run is what was hashed when it was made."""
    package = copy(native)
    path = package / MANIFEST_NAME
    content, files = path.read_bytes(), read_manifest(package).files
    for _ in range(100):
        place, bit = (int(torch.randint(limit, (), generator=rng)) for limit in (len(content), 8))
        changed = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
        path.write_bytes(changed)
        try:
            known = read_manifest(package).files
        except BadInputError:
            continue
        if known != files:
            refused(package, image, LwcError, r"v1-native")


def test_a_library_swapped_after_the_check_is_not_the_one_that_is_loaded(
    native: Path, copy: Copy, image: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = copy(native)
    expected = lwc.load(native)(image)
    open_library = lwc.load.__globals__["_open_library"]

    def swap_and_open(content: bytes, folder: Path, name: str) -> object:
        (package / f"lib{name}.so").write_bytes(b"swapped")
        return open_library(content, folder, name)

    monkeypatch.setattr("lwc.package.load._open_library", swap_and_open)
    assert np.array_equal(lwc.load(package)(image), expected)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x7fELF" + bytes(100)])
def test_a_library_that_is_none_though_its_hash_is_right(native: Path, copy: Copy, content: bytes) -> None:
    package = copy(native)
    path = package / "libmobilenet_v1.so"
    path.write_bytes(content)
    rehash(package, path.name)
    with pytest.raises(LwcError, match=r"libmobilenet_v1\.so") as caught:
        lwc.load(package)
    assert "\n" not in str(caught.value)


def rehash(package: Path, name: str) -> None:
    """What someone would do who changes a file and its hash."""
    path = package / MANIFEST_NAME
    document = json.loads(path.read_text())
    document["files"][name] = hash_file(package / name).model_dump()
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("name", ["expected_output.npy", "sample_input.npy"])
def test_another_sample_with_its_hash_made_anew_disagrees(
    native: Path, copy: Copy, rng: torch.Generator, name: str
) -> None:
    package = copy(native)
    shape = np.load(package / name).shape
    np.save(package / name, torch.randn(shape, generator=rng).numpy())
    rehash(package, name)
    with pytest.raises(VerificationError, match="output 'logits' differs from PyTorch by"):
        verify_package(package)


def test_another_library_under_its_name(native: Path, copy: Copy) -> None:
    package = copy(native)
    manifest = read_manifest(package)
    path = package / manifest.library
    # A library that exists wherever Python does, and has none of the functions.
    path.write_bytes(Path(_ctypes.__file__).read_bytes())
    rehash(package, path.name)
    with pytest.raises(BadInputError, match=f"{path.name}: has no {manifest.name}_last_error"):
        lwc.load(package)
