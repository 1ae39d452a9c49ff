"""Damaged files are set aside, those of others are left alone."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import torch

from lwc.tune.database import APPLICATION_ID, SCHEMA_VERSION
from lwc.tune.store import open_store, read_best
from tests.tune.made import HERE, kernel, measured, no_warning
from tests.tune.opening import execute, refused, unread

TRIAL = measured(kernel(0))


def begun_anew(path: Path) -> Path:
    """The store works, with nothing in it; the damaged file, which a warning named."""
    warnings: list[str] = []
    with open_store(path, warnings.append) as store:
        assert store.records() == []
        assert store.add(kernel(0), HERE, [TRIAL]) == 1
    (warning,) = warnings
    assert "\n" not in warning
    with open_store(path, no_warning) as store:
        assert [record.trial for record in store.records()] == [TRIAL]
    (name,) = re.findall(r"it is (\S+) now", warning)
    return path.with_name(name)


def test_random_bytes_are_set_aside(path: Path, rng: torch.Generator) -> None:
    path.parent.mkdir()
    content = bytes(torch.randint(256, (20_000,), generator=rng).tolist())
    path.write_bytes(content)
    unread(path, "is damaged")
    assert path.read_bytes() == content
    assert begun_anew(path).read_bytes() == content


@pytest.mark.parametrize("length", [2, 99, 100, 512, 4096, None])
def test_a_truncated_file_is_set_aside(filled: Path, rng: torch.Generator, length: int | None) -> None:
    whole = filled.read_bytes()
    # Of less than a page, only the rows there would be damaged.
    length = length or int(torch.randint(4096, len(whole) - 4096, (), generator=rng))
    filled.write_bytes(whole[:length])
    unread(filled, "is damaged|is not a store")
    assert begun_anew(filled).read_bytes() == whole[:length]


def test_a_file_with_a_page_of_rubbish_is_set_aside(filled: Path, rng: torch.Generator) -> None:
    page = int(torch.randint(1, filled.stat().st_size // 4096, (), generator=rng))
    with filled.open("r+b") as file:
        file.seek(4096 * page)
        file.write(b"\xaa" * 4096)
    begun_anew(filled)


def test_a_store_without_a_table_is_set_aside(filled: Path) -> None:
    execute(filled, "DROP TABLE circumstances")
    unread(filled, "is damaged")
    begun_anew(filled)


def test_a_store_whose_schema_is_no_text_is_set_aside(filled: Path) -> None:
    content = filled.read_bytes()
    assert content.count(b"CREATE TABLE trials (workload") == 1
    filled.write_bytes(
        content.replace(b"CREATE TABLE trials (workload", b"CREATE TABLE trials (\xff\xfe rkload")
    )
    unread(filled, "is damaged")
    begun_anew(filled)


def test_damaged_files_do_not_replace_each_other(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("one" * 1000)
    first = begun_anew(path)
    path.write_text("two" * 1000)
    second = begun_anew(path)
    assert (first.read_text()[:3], second.read_text()[:3]) == ("one", "two")


def test_the_log_of_a_damaged_file_goes_with_it(filled: Path) -> None:
    log = filled.with_name(f"{filled.name}-wal")
    # The last one to close the file would write the log back.
    with closing(sqlite3.connect(filled, isolation_level=None)) as other:
        other.execute("DELETE FROM circumstances")
        written = log.read_bytes()
        filled.write_bytes(b"\xaa" * filled.stat().st_size)
        aside = begun_anew(filled)
        assert aside.with_name(f"{aside.name}-wal").read_bytes() == written


@pytest.mark.parametrize("begun", [[], ["PRAGMA journal_mode=WAL"]])
def test_a_file_whose_maker_was_killed_is_filled(path: Path, begun: list[str]) -> None:
    execute(path, *begun)
    path.touch()
    unread(path, "is not a store")
    with open_store(path, no_warning) as store:
        assert store.add(kernel(0), HERE, [TRIAL]) == 1


@pytest.mark.parametrize("statement", ["CREATE TABLE bookmarks (url TEXT)", "PRAGMA application_id=1"])
def test_the_file_of_another_program_stays_as_it_is(path: Path, statement: str) -> None:
    execute(path, statement)
    before = path.read_bytes()
    refused(path, "is not a store of tuning results; set LWC_TUNING_STORE")
    assert path.read_bytes() == before


def test_the_file_of_a_newer_lwc_stays_as_it_is(path: Path) -> None:
    newer = SCHEMA_VERSION + 1
    execute(path, f"PRAGMA application_id={APPLICATION_ID}", f"PRAGMA user_version={newer}")
    before = path.read_bytes()
    refused(path, f"has version {newer}, this lwc knows {SCHEMA_VERSION}; update lwc")
    assert path.read_bytes() == before


def test_a_link_leads_to_the_store(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(filled)
    assert len(read_best(tmp_path / "link", HERE, 1, no_warning)) == 100
    filled.write_bytes(b"rubbish" * 1000)
    begun_anew(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
