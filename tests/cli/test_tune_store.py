"""`lwc tune status`, `export`, `import` and `prune`, on a store in a folder of its own."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lwc.tune.circumstances import current_versions
from lwc.tune.store import open_for_reading, open_store
from tests.cli.conftest import Lwc
from tests.tune.made import HERE, failed, kernel, measured, no_warning, wrong

ONE, TWO = kernel(1), kernel(2)
NOW = replace(HERE, versions=current_versions(), machine='{"cpu":"cortex-a76"}')


@pytest.fixture
def store(store_path: Path) -> Path:
    """A store with two trials of this lwc, and three of another one."""
    with open_store(store_path, no_warning) as store:
        store.add(ONE, NOW, [measured(ONE, 0.5, tile=1), wrong(ONE, tile=2)])
        store.add(ONE, HERE, [measured(ONE, 0.5, tile=1)])
        store.add(TWO, HERE, [measured(TWO, 0.5, tile=1), failed(TWO, tile=2)])
    return store_path


def trials_in(path: Path) -> int:
    """How many trials a store has."""
    with open_for_reading(path) as store:
        return len(store.records())


def damage(path: Path) -> None:
    """Spoil one row of a store."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE trials SET rounds = -1 WHERE outcome = 'failed'")
    connection.close()


def test_status_says_how_much_is_known_of_what(lwc: Lwc, store: Path) -> None:
    damage(store)
    done = lwc("tune", "status")
    first, header, *rows, last = done.out.splitlines()
    assert (done.code, first, done.err) == (0, str(store), "")
    assert " ".join(header.split()) == "processor code for threads kernels trials wrong failed versions"
    assert sorted(" ".join(row.split()) for row in rows) == [
        "Cortex-A76 4 2 2 0 0 lwc 0.1.0, kernels 1",
        f"Cortex-A76 cortex-a76 4 1 2 1 0 {current_versions()}",
    ]
    assert last == "1 damaged rows; `lwc tune prune` removes them"


def test_status_in_json(lwc: Lwc, store: Path) -> None:
    document = json.loads(lwc("tune", "status", "--json").out)
    assert (document["store"], document["damaged"], len(document["groups"])) == (str(store), 0, 2)
    (older,) = (group for group in document["groups"] if group["versions"] == HERE.versions)
    counts = {"kernels": 2, "trials": 3, "wrong": 0, "failed": 1}
    assert (
        older == {"machine": HERE.machine, "cpu": HERE.cpu, "threads": 4, "versions": HERE.versions} | counts
    )


def test_what_one_store_exports_another_one_takes_over(
    lwc: Lwc, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lwc("tune", "export", tmp_path / "results.json").code == 0
    text = (tmp_path / "results.json").read_text()
    assert lwc("tune", "export", "-").out == text
    other = tmp_path / "other.sqlite"
    monkeypatch.setenv("LWC_TUNING_STORE", str(other))
    done = lwc("tune", "import", tmp_path / "results.json")
    assert (done.code, done.out) == (0, "5 trials taken over, 0 own ones kept in their place\n")
    assert lwc("tune", "export", "-").out == text


def test_import_keeps_what_is_known_better(lwc: Lwc, store: Path, tmp_path: Path) -> None:
    lwc("tune", "export", tmp_path / "results.json")
    with open_store(store, no_warning) as opened:
        opened.add(TWO, HERE, [measured(TWO, 0.9, 99, tile=1)])
    document = json.loads(lwc("tune", "import", tmp_path / "results.json", "--json").out)
    # That, and the choice that was seen to be wrong here.
    assert document == {"store": str(store), "added": 3, "kept": 2}


def test_prune_leaves_what_this_lwc_measured(lwc: Lwc, store: Path) -> None:
    damage(store)
    assert json.loads(lwc("tune", "prune", "--json").out) == {"store": str(store), "trials": 2, "damaged": 1}
    assert trials_in(store) == 2
    assert lwc("tune", "prune").out == "0 trials of other versions removed, and 0 damaged rows\n"


# What is wrong.


@pytest.mark.parametrize("verb", ["status", "export -", "prune"])
def test_a_store_that_is_not_there_is_not_begun(lwc: Lwc, store_path: Path, verb: str) -> None:
    done = lwc("tune", *verb.split())
    assert (done.code, done.out) == (3, "")
    assert done.line() == f"lwc: {store_path}: does not exist; `lwc tune` makes it\n"
    assert not store_path.exists()


VERBS = ("status", "export -", "import results.json", "prune")


@pytest.mark.parametrize("verb", VERBS)
def test_a_store_that_is_a_folder(
    lwc: Lwc, store_path: Path, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results.json").write_text('{"schema_version": 1, "records": []}')
    store_path.mkdir()
    done = lwc("tune", *verb.split())
    assert (done.code, done.out) == (3, "")
    assert "tuning.sqlite: is not a regular file" in done.line()
    assert list(store_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["status", "export -"])
def test_a_store_of_somebody_else(lwc: Lwc, store_path: Path, verb: str) -> None:
    store_path.write_text("a letter, or something of that length at least" * 100)
    before = store_path.read_bytes()
    done = lwc("tune", *verb.split())
    assert (done.code, done.out) == (3, "")
    assert "tuning.sqlite: is damaged" in done.line()
    assert store_path.read_bytes() == before


def test_export_to_where_nothing_can_be_written(lwc: Lwc, store: Path, tmp_path: Path) -> None:
    for place, says in ((tmp_path, "is a folder"), (tmp_path / "no" / "x.json", "its folder does not exist")):
        done = lwc("tune", "export", place)
        assert (done.code, done.out) == (3, "")
        assert says in done.line()
    assert lwc("tune", "export", "").code == 2
    assert trials_in(store) == 5


def _missing(file: Path) -> None:
    file.unlink()


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _text(text: str | bytes) -> Callable[[Path], None]:
    return lambda file: (file.write_bytes(text.encode() if isinstance(text, str) else text), None)[1]


def _changed(old: str, new: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (_missing, "results.json: does not exist"),
    "folder": (_folder, "results.json: "),
    "empty": (_text(""), "results.json: is not valid JSON"),
    "binary": (_text(b"\x7fELF\xff\xfe\0"), "results.json: is not valid JSON"),
    "deep": (_text('{"schema_version": 1, "records": ' + "[" * 100_000), "is not valid JSON"),
    "other version": (_text('{"schema_version": 2, "records": []}'), "schema_version is 2, this lwc reads 1"),
    "infinite": (_changed('"microseconds": 50.0', '"microseconds": 1e999'), "records.0.trials.0"),
    "not a number": (_changed('"microseconds": 50.0', '"microseconds": NaN'), "NaN is not a number"),
    "surrogate": (_changed('"reason": "signal 11"', r'"reason": "\ud800"'), "results.json: "),
    "control": (_changed('"cpu": "Cortex-A76"', r'"cpu": "\u001b[2J"'), "records.0.circumstances"),
    "other key": (_changed('"rounds": ', '"\\u001b[2J": 1, "rounds": '), "records.0.trials.0"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_change_nothing(lwc: Lwc, store: Path, tmp_path: Path, kind: str) -> None:
    spoil, says = HOSTILE[kind]
    file = tmp_path / "results.json"
    lwc("tune", "export", file)
    before = lwc("tune", "export", "-").out
    spoil(file)
    done = lwc("tune", "import", file, "--json")
    assert (done.code, done.out) == (3, "")
    assert says in done.line()
    assert done.err.rstrip("\n").isprintable()
    assert lwc("tune", "export", "-").out == before


def test_a_hostile_file_begins_no_store(lwc: Lwc, store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    assert lwc("tune", "import", tmp_path / "results.json").code == 3
    assert not store_path.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("export", "Missing argument 'FILE'"),
        ("import", "Missing argument 'FILE'"),
        ("import a b", "unexpected extra argument"),
        ("prune --all", "No such option"),
        ("status mobilenet_v1", "unexpected extra argument"),
    ],
)
def test_what_is_asked_wrongly(lwc: Lwc, store_path: Path, words: str, says: str) -> None:
    done = lwc("tune", *words.split())
    assert (done.code, done.out) == (2, "")
    assert says in done.line()
    assert f"Try 'lwc tune {words.split()[0]} --help'" in done.line()
    assert not store_path.exists()


@pytest.mark.parametrize("verb", ["status", "export", "import", "prune"])
def test_help_ends_with_an_example(lwc: Lwc, verb: str) -> None:
    done = lwc("tune", verb, "--help")
    assert done.code == 0
    assert f"\n    lwc tune {verb}" in done.out.partition("Example")[2]
