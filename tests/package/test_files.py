"""Every file of a package is compared with the manifest before anything is done with it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lwc.errors import BadInputError, LwcError, VerificationError
from lwc.files import one_line, read_regular
from lwc.package.load import load
from lwc.package.manifest import MANIFEST_NAME, check_files, open_package, read_manifest


def test_a_flipped_bit_a_missing_byte_and_a_further_one(package: Path, rng: torch.Generator) -> None:
    manifest = read_manifest(package)
    for name in manifest.files:
        path = package / name
        content = path.read_bytes()
        place, bit = (int(torch.randint(limit, (), generator=rng)) for limit in (len(content), 8))
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        for changed in (bytes(flipped), content[:-1], content + b"\0", b""):
            path.write_bytes(changed)
            for use in (lambda: check_files(package, manifest), lambda: load(package)):
                with pytest.raises(VerificationError, match=name):
                    use()
        path.write_bytes(content)
    check_files(package, manifest)


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "a link": lambda path: path.symlink_to(path.with_name("copy")),
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_something_else_in_place_of_a_file(package: Path, kind: str) -> None:
    for name in read_manifest(package).files:
        path = package / name
        path.rename(path.with_name("copy"))
        REPLACEMENTS[kind](path)
        for use in (open_package, load):
            with pytest.raises(BadInputError, match=name):
                use(package)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.with_name("copy").rename(path)
    open_package(package)


def test_a_further_file_is_left_alone(package: Path) -> None:
    """Users put notes beside the library; what is not listed is neither read nor run."""
    (package / "notes.txt").write_text("mine")
    assert "notes.txt" not in open_package(package).files


def test_the_manifest_is_not_its_own_witness(package: Path) -> None:
    assert MANIFEST_NAME not in read_manifest(package).files


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "/proc/self/mem/x"])
def test_paths_that_the_system_refuses(path: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_regular(Path(path))
    assert len(str(caught.value)) < 400


def test_limits_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(BadInputError, match="more than 4 bytes"):
        read_regular(path, 4)


def test_messages_become_one_short_line() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line("x" * 1000)) == 200
    assert issubclass(VerificationError, LwcError)
