"""A package stands in its place complete or not at all, and never over what is not a package of ours."""

import os
from pathlib import Path

import pytest

from lwc.errors import BadInputError, ResourceError
from lwc.package.manifest import MANIFEST_NAME
from lwc.package.write import check_destination, package_folder


def contents(folder: Path) -> dict[str, bytes]:
    """Everything below `folder`: paths and bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("place", ["new", "some/new/place", "empty"])
def test_a_new_package(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    output = tmp_path / place
    with package_folder(output) as folder:
        assert folder != output
        assert folder.parent == output.parent
        assert not list(output.glob("*"))
        (folder / "file").write_text("content")
    assert contents(output) == {"file": b"content"}
    assert [path.name for path in output.parent.iterdir() if path.name.startswith(".")] == []
    # Others than its owner may read it.
    assert output.stat().st_mode & 0o777 == 0o755


def test_an_older_package_is_replaced_as_a_whole(package: Path, tmp_path: Path) -> None:
    with package_folder(package) as folder:
        (folder / "file").write_text("new")
        assert (package / MANIFEST_NAME).is_file()
    assert contents(tmp_path) == {package.name: b"", f"{package.name}/file": b"new"}


def write_half(output: Path, error: type[BaseException]) -> None:
    with package_folder(output) as folder:
        (folder / "file").write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_an_error_in_the_block_leaves_all_as_it_was(
    package: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    before = contents(tmp_path)
    for output in (package, tmp_path / "new", tmp_path / "some" / "new" / "place"):
        with pytest.raises(error):
            write_half(output, error)
    assert contents(tmp_path) == before


def test_foreign_files_are_never_touched(package: Path, tmp_path: Path) -> None:
    (package / "thesis.tex").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(BadInputError, match=r"'thesis\.tex', which lwc did not write"):
        check_destination(package)
    with pytest.raises(BadInputError), package_folder(package):
        pytest.fail("the block must not run")
    assert contents(tmp_path) == before


def test_a_folder_with_files_but_no_valid_manifest_is_foreign(package: Path) -> None:
    (package / MANIFEST_NAME).write_text("{}")
    with pytest.raises(BadInputError, match="which lwc did not write"):
        check_destination(package)


def test_a_foreign_file_that_appears_meanwhile(package: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="'late'"), package_folder(package):
        (package / "late").write_text("mine")
    assert (package / "late").read_text() == "mine"
    assert (package / MANIFEST_NAME).is_file()
    assert [path.name for path in tmp_path.iterdir()] == [package.name]


def test_what_is_no_folder(tmp_path: Path, package: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(package)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    for name, says in {
        "file": "not a folder",
        "link": "link",
        "dangling": "link",
        "pipe": "not a folder",
    }.items():
        with pytest.raises(BadInputError, match=f"{name}: .*{says}"), package_folder(tmp_path / name):
            pytest.fail("the block must not run")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["n" * 2000, "a/" + "n" * 300, "file/new", "nul\0"])
def test_names_that_the_system_refuses(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError) as caught, package_folder(tmp_path / name):
        pytest.fail("the block must not run")
    assert len(str(caught.value)) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["two\nlines", "a b;c", "-o", "ünï", "n" * 255])
def test_odd_names_that_it_accepts(tmp_path: Path, name: str) -> None:
    with package_folder(tmp_path / name) as folder:
        (folder / "file").touch()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_place_stays_where_it_was_when_the_block_changes_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with package_folder(Path("new")) as folder:
        monkeypatch.chdir(tmp_path)
        (folder / "file").touch()
    assert contents(tmp_path) == {"here": b"", "here/new": b"", "here/new/file": b""}


def test_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (".", str(tmp_path)):
        with pytest.raises(BadInputError, match="is the current folder"), package_folder(Path(name)):
            pytest.fail("the block must not run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_parent_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadInputError, match="cannot be written"), package_folder(tmp_path / "new"):
        pytest.fail("the block must not run")
    tmp_path.chmod(0o700)


def test_a_file_system_that_takes_nothing_new() -> None:
    with pytest.raises(BadInputError, match="/proc: cannot be written"), package_folder(Path("/proc/new")):
        pytest.fail("the block must not run")


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(OSError(28, "No space left on device"), ResourceError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_the_older_package_comes_back_when_the_new_one_cannot_be_moved_in(
    failure: BaseException,
    raised: type[BaseException],
    package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, rename = contents(tmp_path), Path.rename

    def fail_for_the_new_one(self: Path, target: Path) -> Path:
        if target == package and ".partial-" in self.name and not self.name.endswith(".old"):
            raise failure
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(raised), package_folder(package) as folder:
        (folder / "file").touch()
    assert contents(tmp_path) == before


def test_another_process_puts_its_package_there_meanwhile(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def be_late(self: Path, target: Path) -> Path:
        if target == package and ".partial-" in self.name:
            package.mkdir()
            (package / "theirs").touch()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", be_late)
    with pytest.raises(ResourceError, match="cannot be written"), package_folder(package) as folder:
        (folder / "ours").touch()
    assert contents(tmp_path) == {package.name: b"", f"{package.name}/theirs": b""}
