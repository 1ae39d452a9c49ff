"""What one store exports another one takes over; what anybody else wrote is checked first."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lwc.errors import BadInputError
from lwc.tune.exchange import Imported, export, import_records, parse_records
from lwc.tune.records import Trial
from lwc.tune.store import Store, open_store
from tests.tune.made import HERE, failed, kernel, measured, no_warning, wrong

ONE, TWO = kernel(1), kernel(2)
ELSEWHERE = replace(HERE, threads=1)


@pytest.fixture
def text(tmp_path: Path) -> bytes:
    """An export of two kernels, one of them in two circumstances."""
    with open_store(tmp_path / "other.sqlite", no_warning) as other:
        other.add(TWO, HERE, [measured(TWO, 0.1 + 0.2, 7, tile=4, kind=2), failed(TWO, tile=8)])
        other.add(ONE, HERE, [measured(ONE, 0.5, 10)])
        other.add(ONE, ELSEWHERE, [wrong(ONE)])
        return export(other).encode()


def test_an_empty_store(store: Store) -> None:
    assert json.loads(export(store)) == {"schema_version": 1, "records": []}
    assert import_records(store, parse_records(export(store).encode(), "text")) == Imported(0, 0)


def test_another_store_takes_over_all(store: Store, text: bytes) -> None:
    assert import_records(store, parse_records(text, "text")) == Imported(added=4, kept=0)
    assert export(store).encode() == text


def test_the_text_does_not_depend_on_the_order(tmp_path: Path, store: Store, text: bytes) -> None:
    import_records(store, parse_records(text, "text"))
    with open_store(tmp_path / "third.sqlite", no_warning) as third:
        third.add_records(store.records()[::-1])
        assert export(third).encode() == text


def test_another_trial_is_another_line(store: Store, text: bytes) -> None:
    import_records(store, parse_records(text, "text"))
    store.add(ONE, HERE, [measured(ONE, 0.6, tile=1)])
    before, after = text.splitlines(), export(store).encode().splitlines()
    assert len(after) == len(before) + 1
    # The line before it may have got a comma.
    assert len(set(after) - set(before)) in (1, 2)


@pytest.mark.parametrize(
    ("own", "imported", "kept"),
    [
        (measured(ONE, 0.5, 11), measured(ONE, 0.1, 10), "own"),
        (measured(ONE, 0.5, 11), wrong(ONE, 10), "own"),
        (failed(ONE, 11), measured(ONE, 0.1, 10), "own"),
        (wrong(ONE, 1), measured(ONE, 0.1, 99), "own"),
        (wrong(ONE, 1), failed(ONE, 99), "own"),
        (measured(ONE, 0.5, 10), measured(ONE, 0.9, 11), "imported"),
        (measured(ONE, 0.5, 10), wrong(ONE, 10), "imported"),
        (failed(ONE, 1), measured(ONE, 0.9, 10), "imported"),
    ],
)
def test_which_of_two_trials_stays(
    tmp_path: Path, store: Store, own: Trial, imported: Trial, kept: str
) -> None:
    with open_store(tmp_path / "other.sqlite", no_warning) as other:
        other.add(ONE, HERE, [imported])
        text = export(other).encode()
    store.add(ONE, HERE, [own])
    added = int(kept == "imported")
    assert import_records(store, parse_records(text, "text")) == Imported(added, 1 - added)
    assert store.trials(own.workload, HERE) == [imported if added else own]


def refused(store: Store, text: bytes, says: str) -> None:
    """The import ends with one line that names the text, and changes nothing."""
    before = export(store)
    with pytest.raises(BadInputError, match=says) as caught:
        import_records(store, parse_records(text, "their.json"))
    line = str(caught.value)
    assert line.startswith("their.json: ")
    assert line.isprintable()
    assert len(line) < 500
    assert export(store) == before


MALFORMED = {
    "empty": (b"", "not valid JSON"),
    "no object": (b"[]", "holds a JSON list"),
    "no version": (b"{}", "schema_version is None"),
    "another version": (b'{"schema_version": 2}', "schema_version is 2, this lwc reads 1"),
    "true version": (b'{"schema_version": true}', "schema_version is True"),
    "deep": (b'{"schema_version": 1, "records": ' + b"[" * 200_000, "not valid JSON"),
    "deep and closed": (
        b'{"schema_version": 1, "records": [' + b"[" * 900 + b"]" * 900 + b"]}",
        r"records\.0|not valid JSON|recursion",
    ),
    "duplicate key": (b'{"schema_version": 1, "records": [], "records": []}', "duplicate key 'records'"),
    "another key": (b'{"schema_version": 1, "records": [], "\\u001b\\n": 1}', "x1b"),
    "escaped surrogate": (b'{"schema_version": 1, "records": [], "\\ud800": 1}', "JSON"),
    "UTF-16": ('{"schema_version": 1, "records": []}'.encode("utf-16"), "JSON"),
    "surrogate": ('{"schema_version": 1, "records": "\ud800"}'.encode("utf-8", "surrogatepass"), "JSON"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_text(store: Store, kind: str) -> None:
    content, says = MALFORMED[kind]
    refused(store, content, says)


# What json.dumps cannot write.
NUMBERS = {"huge": "1e999", "not a number": "NaN", "infinite": "-Infinity"}

WRONG: list[tuple[tuple[str | int, ...], object, str]] = [
    (("records", 1, "description"), kernel(3), r"records\.1"),
    (("records", 1, "description"), ONE.replace(":", ": "), r"records\.1.*canonical"),
    (("records", 1, "description"), {"kernel": "gemm"}, r"records\.1\.description"),
    (("records", 1, "trials"), [], r"records\.1\.trials"),
    (("records", 1, "trials"), ..., r"records\.1\.trials"),
    (("records", 1, "circumstances", "threads"), 0, r"records\.1\.circumstances.*threads"),
    (("records", 1, "circumstances", "threads"), "4", r"records\.1\.circumstances\.threads"),
    (("records", 1, "circumstances", "cpu"), "a\nb", r"records\.1\.circumstances.*cpu"),
    (("records", 1, "circumstances", "cpu"), "\ud800", "JSON"),
    (("records", 1, "circumstances", "cpu"), ..., r"records\.1\.circumstances\.cpu"),
    (("records", 1, "circumstances", "host"), "mine", r"records\.1\.circumstances\.host"),
    (("records", 2, "trials", 0, "workload"), "0" * 64, r"records\.2.*SHA-256"),
    (("records", 2, "trials", 0, "workload"), "../x", r"records\.2\.trials\.0"),
    (
        ("records", 2, "trials", 0, "choice"),
        {f"x{n}": n for n in range(33)},
        r"records\.2\.trials\.0.*choice",
    ),
    (("records", 2, "trials", 0, "choice", "tile"), 2**31 + 1, r"records\.2\.trials\.0.*choice"),
    (("records", 2, "trials", 0, "choice", "tile"), 10**400, r"records\.2\.trials\.0.*choice|JSON"),
    (("records", 2, "trials", 0, "choice", "tile"), 4.0, r"records\.2\.trials\.0\.choice\.tile"),
    (("records", 2, "trials", 0, "choice", "tile"), True, r"records\.2\.trials\.0\.choice\.tile"),
    (("records", 2, "trials", 0, "choice", "tile"), "\ud800", "JSON"),
    (("records", 2, "trials", 0, "choice", "\x1b[2J"), [], r"records\.2\.trials\.0\.choice"),
    (("records", 2, "trials", 0, "outcome"), "good", r"records\.2\.trials\.0\.outcome"),
    (("records", 2, "trials", 0, "microseconds"), 0, r"records\.2\.trials\.0.*positive"),
    (("records", 2, "trials", 0, "microseconds"), "1", r"records\.2\.trials\.0\.microseconds"),
    (("records", 2, "trials", 0, "microseconds"), None, r"records\.2\.trials\.0.*positive"),
    (("records", 2, "trials", 0, "microseconds"), "huge", r"records\.2\.trials\.0\.microseconds.*finite"),
    (("records", 2, "trials", 0, "microseconds"), "not a number", "NaN is not a number"),
    (("records", 2, "trials", 0, "microseconds"), "infinite", "-Infinity is not a number"),
    (("records", 2, "trials", 0, "rounds"), 0, r"records\.2\.trials\.0.*rounds"),
    (("records", 2, "trials", 0, "rounds"), 2.0, r"records\.2\.trials\.0\.rounds"),
    (("records", 2, "trials", 0, "rounds"), 2**64, r"records\.2\.trials\.0.*rounds"),
    (("records", 2, "trials", 0, "reason"), "none", r"records\.2\.trials\.0.*reason"),
    (("records", 2, "trials", 0, "time"), "now", r"records\.2\.trials\.0\.time"),
]


def changed(text: bytes, keys: tuple[str | int, ...], value: object) -> bytes:
    """The text with the entry at `keys` set to `value`, or removed where that is `...`."""
    document = json.loads(text)
    *path, last = keys
    entry = document
    for key in path:
        entry = entry[key]
    if value is ...:
        del entry[last]
    else:
        entry[last] = value
    result = json.dumps(document)
    for name, number in NUMBERS.items():
        result = result.replace(f'"{name}"', number)
    return result.encode()


@pytest.mark.parametrize(("keys", "value", "says"), WRONG)
def test_one_bad_record_is_named_and_nothing_is_taken(
    store: Store, text: bytes, keys: tuple[str | int, ...], value: object, says: str
) -> None:
    store.add(TWO, HERE, [measured(TWO, tile=16)])
    refused(store, changed(text, keys, value), says)


def test_more_than_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    text = export(store).encode()
    monkeypatch.setattr("lwc.tune.exchange.MAX_BYTES", len(text) - 1)
    with pytest.raises(BadInputError, match=f"more than {len(text) - 1} bytes; is it the right file"):
        parse_records(text, "their.json")


def test_a_store_of_more_than_is_read_again_is_not_exported(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(ONE, HERE, [measured(ONE)])
    monkeypatch.setattr("lwc.tune.exchange.MAX_BYTES", len(export(store)) - 1)
    with pytest.raises(BadInputError, match=r"tuning\.sqlite: .*prune"):
        export(store)
