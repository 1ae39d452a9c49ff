"""Where a store can be, and what happens where it cannot be written, read or waited for."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from lwc.errors import BadInputError, ResourceError
from lwc.tune.records import Record
from lwc.tune.store import open_for_reading, open_store, read_best
from tests.tune.made import HERE, kernel, measured, no_warning
from tests.tune.opening import refused, unread

TRIAL = measured(kernel(0))


def test_what_is_no_file(tmp_path: Path) -> None:
    refused(tmp_path, "is not a regular file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is not a regular file")
    (tmp_path / "text").touch()
    refused(tmp_path / "text" / "tuning.sqlite", "cannot be opened|does not exist")
    refused(tmp_path / ("x" * 300), "cannot be opened")
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "loop", "cannot be opened|does not exist")


def test_reading_creates_nothing(path: Path) -> None:
    unread(path, "does not exist")
    assert not path.parent.exists()
    path.parent.mkdir()
    unread(path, "does not exist")
    assert list(path.parent.iterdir()) == []


def test_reading_changes_nothing(filled: Path) -> None:
    with (
        open_for_reading(filled) as store,
        pytest.raises(BadInputError, match="cannot be opened or written"),
    ):
        store.add(kernel(0), HERE, [TRIAL])


def test_names_that_mean_something_in_an_address(tmp_path: Path) -> None:
    for name in ("a b?mode=ro", "50%41#x", "é", os.fsdecode(b"\xff")):
        with open_store(tmp_path / name, no_warning) as store:
            store.add(kernel(0), HERE, [TRIAL])
        assert read_best(tmp_path / name, HERE, 1, no_warning) == {TRIAL.workload: TRIAL}
        assert (tmp_path / name).exists()


def test_a_store_that_stays_locked(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lwc.tune.database.PATIENCE", 0.1)
    monkeypatch.setattr("lwc.tune.database._READING_PATIENCE", 0.1)
    with closing(sqlite3.connect(filled, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        refused(filled, "other processes keep it locked", ResourceError)
    assert len(read_best(filled, HERE, 1, no_warning)) == 100


def test_a_full_disk(filled: Path) -> None:
    with open_store(filled, no_warning) as store:
        store._connection.execute("PRAGMA max_page_count=1")
        with pytest.raises(ResourceError, match="disk is full"):
            store.add_records([Record(d, HERE, measured(d)) for d in map(kernel, range(100, 200))])
        assert len(store.records()) == 100


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    """Files are opened as `user`."""
    before = os.geteuid()
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(before)


def privileged() -> AbstractContextManager[None]:
    """The user who runs the tests, again."""
    return acting_as(os.getuid())


@pytest.fixture
def unprivileged(filled: Path) -> Iterator[Path]:
    """The store in a folder where the test may not write: it is nobody if it was root, who may do anything."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, filled.name)
        copy.write_bytes(filled.read_bytes())
        copy.chmod(0o444)
        Path(folder).chmod(0o555)
        with acting_as(os.getuid() or 65534):
            yield copy
        Path(folder).chmod(0o755)


def test_a_store_in_a_folder_that_cannot_be_written(unprivileged: Path) -> None:
    refused(unprivileged, "cannot be opened")
    refused(unprivileged.with_name("new"), "cannot be opened|does not exist")
    refused(unprivileged.with_name("new") / "tuning.sqlite", "cannot be opened|does not exist")


def test_a_file_that_can_only_be_read(unprivileged: Path) -> None:
    with privileged():
        unprivileged.parent.chmod(0o777)
    assert len(read_best(unprivileged, HERE, 1, no_warning)) == 100
    with (
        pytest.raises(BadInputError, match="cannot be opened or written"),
        open_store(unprivileged, no_warning),
    ):
        pass


def test_a_file_that_cannot_be_read(unprivileged: Path) -> None:
    with privileged():
        unprivileged.parent.chmod(0o777)
        unprivileged.chmod(0)
    refused(unprivileged, "cannot be opened")
