"""What a store keeps, gives back and removes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from lwc.tune.records import Trial, workload_of
from lwc.tune.store import Group, Removed, Store, Summary, default_path, open_for_reading, open_store
from tests.tune.made import HERE, failed, kernel, measured, no_warning, wrong

ONE, TWO = kernel(1), kernel(2)
ELSEWHERE = replace(HERE, threads=1)
LATER = replace(HERE, versions="lwc 0.2.0, kernels 2")


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The file without lwc."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LWC_TUNING_STORE", "/data/mine")
    assert default_path() == Path("/data/mine")
    monkeypatch.setenv("LWC_TUNING_STORE", "")
    assert default_path() == Path(platformdirs.user_data_dir("lwc"), "tuning.sqlite")
    monkeypatch.delenv("LWC_TUNING_STORE")
    assert default_path() == Path(platformdirs.user_data_dir("lwc"), "tuning.sqlite")


def test_what_was_added_is_there_when_it_is_opened_again(path: Path) -> None:
    trials = [measured(ONE, 0.1 + 0.2, 7, tile=4, kind=2), failed(ONE, tile=8), wrong(ONE, tile=16)]
    with open_store(path, no_warning) as store:
        assert store.add(ONE, HERE, trials) == 3
    with open_store(path, no_warning) as store:
        assert sorted(store.trials(workload_of(ONE), HERE), key=trials.index) == trials
    with open_for_reading(path) as store:
        assert sorted(store.trials(workload_of(ONE), HERE), key=trials.index) == trials
    assert [file.name for file in path.parent.iterdir() if file.suffix != ".lock"] == [path.name]


def test_circumstances_and_kernels_are_kept_apart(store: Store) -> None:
    trials = {(d, c): measured(d, tile=4) for d in (ONE, TWO) for c in (HERE, ELSEWHERE, LATER)}
    for (description, circumstances), trial in trials.items():
        store.add(description, circumstances, [trial])
    for (_, circumstances), trial in trials.items():
        assert store.trials(trial.workload, circumstances) == [trial]
    assert store.trials(workload_of(ONE), replace(HERE, cpu="another")) == []
    assert store.trials(workload_of(kernel(3)), HERE) == []


def test_the_best_confirmed_choice(store: Store) -> None:
    fast, slow = measured(ONE, 0.5, 10, tile=8), measured(ONE, 0.9, 30, tile=4)
    store.add(ONE, HERE, [slow, fast, failed(ONE, 99, tile=1), wrong(ONE, 99, tile=2)])
    store.add(TWO, HERE, [failed(TWO, tile=1)])
    store.add(TWO, ELSEWHERE, [measured(TWO, tile=1)])
    assert store.best_of_each(HERE, 10) == {fast.workload: fast}
    assert store.best_of_each(HERE, 11) == {fast.workload: slow}
    assert store.best_of_each(HERE, 31) == {}


FEW, MANY = measured(ONE, 0.5, 10), measured(ONE, 0.6, 11)


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (FEW, MANY, MANY),
        (MANY, FEW, MANY),
        (FEW, measured(ONE, 0.7, 10), measured(ONE, 0.7, 10)),
        (FEW, failed(ONE, 9), FEW),
        (failed(ONE, 20), FEW, FEW),
        (FEW, wrong(ONE, 1), wrong(ONE, 1)),
        (wrong(ONE, 1), MANY, wrong(ONE, 1)),
        (wrong(ONE, 1), failed(ONE, 99), wrong(ONE, 1)),
    ],
)
def test_which_of_two_trials_stays(store: Store, old: Trial, new: Trial, kept: Trial) -> None:
    assert store.add(ONE, HERE, [old]) == 1
    assert store.add(ONE, HERE, [new]) == (kept == new)
    assert store.trials(old.workload, HERE) == [kept]


def test_other_versions_may_be_right(store: Store) -> None:
    store.add(ONE, HERE, [wrong(ONE)])
    store.add(ONE, LATER, [FEW])
    assert store.best_of_each(LATER, 1) == {FEW.workload: FEW}
    assert store.best_of_each(HERE, 1) == {}


def test_a_trial_of_another_kernel_is_refused_with_all_that_came_with_it(store: Store) -> None:
    with pytest.raises(ValueError, match="SHA-256 of its description"):
        store.add(ONE, HERE, [FEW, measured(TWO)])
    assert store.records() == []


def test_an_error_half_way_keeps_nothing(store: Store) -> None:
    def rule(new: Trial, old: Trial) -> bool:
        raise KeyboardInterrupt

    store.add(ONE, HERE, [FEW])
    (record,) = store.records()
    with pytest.raises(KeyboardInterrupt):
        store.add_records([replace(record, circumstances=LATER), record], rule)
    assert store.records() == [record]
    assert store.add(ONE, HERE, [MANY]) == 1


def test_the_summary_counts(store: Store) -> None:
    assert store.summary() == Summary((), 0)
    store.add(ONE, HERE, [measured(ONE, tile=1), failed(ONE, tile=2), wrong(ONE, tile=3)])
    store.add(TWO, HERE, [failed(TWO, tile=2)])
    store.add(ONE, ELSEWHERE, [measured(ONE)])
    assert store.summary() == Summary((Group(ELSEWHERE, 1, 1, 0, 0), Group(HERE, 2, 4, 1, 2)), 0)


DAMAGE: dict[str, list[Any]] = {
    "choice": [
        "",
        "{}{}",
        '{"tile": 4}',
        '{"b":1,"a":1}',
        '{"tile":true}',
        "[1]",
        "[" * 9999,
        b"\xff",
    ],
    "outcome": ["good", "wrong", b"\xff\xfe", ""],
    "microseconds": [0, -1, 9e999, -9e999, None, "fast", b"\xff"],
    "default_microseconds": [0, None, ""],
    "rounds": [0, -1, 1.5, "many", 2**62],
    "reason": ["none", "\n", b"\xed\xa0\x80"],
    "workload": ["0" * 64, "", b"\0"],
    "circumstances": [999, "here"],
}


@pytest.mark.parametrize(("column", "value"), [(name, value) for name in DAMAGE for value in DAMAGE[name]])
def test_a_damaged_row_is_left_out_counted_and_removed(path: Path, column: str, value: Any) -> None:
    good = measured(ONE, 0.9, tile=8)
    with open_store(path, no_warning) as store:
        store.add(ONE, HERE, [measured(ONE, 0.1, tile=4), good])
    with raw(path) as connection:
        # Bytes that are no text stand where text should.
        new = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
        query = f"UPDATE trials SET {column} = {new} WHERE choice = ?"
        assert connection.execute(query, (value, '{"tile":4}')).rowcount == 1
    with open_store(path, no_warning) as store:
        assert store.trials(good.workload, HERE) == [good]
        assert store.best_of_each(HERE, 1) == {good.workload: good}
        assert [record.trial for record in store.records()] == [good]
        assert store.summary() == Summary((Group(HERE, 1, 1, 0, 0),), 1)
        assert store.remove(HERE.versions) == Removed(trials=0, damaged=1)
        assert store.summary() == Summary((Group(HERE, 1, 1, 0, 0),), 0)


def test_a_damaged_row_makes_way_for_a_trial(path: Path) -> None:
    with open_store(path, no_warning) as store:
        store.add(ONE, HERE, [MANY])
        with raw(path) as connection:
            connection.execute("UPDATE trials SET outcome = 'wrong', rounds = 99")
            connection.execute("UPDATE workloads SET description = '{}'")
        assert store.summary().damaged == 1
        assert store.add(ONE, HERE, [FEW]) == 1
        assert store.trials(FEW.workload, HERE) == [FEW]


def test_records_of_other_versions_are_removed(store: Store, path: Path) -> None:
    store.add(ONE, HERE, [FEW])
    store.add(ONE, ELSEWHERE, [FEW])
    store.add(ONE, LATER, [FEW])
    store.add(TWO, LATER, [measured(TWO, tile=1), measured(TWO, tile=2)])
    assert store.remove(HERE.versions) == Removed(trials=3, damaged=0)
    assert [group.circumstances for group in store.summary().groups] == [ELSEWHERE, HERE]
    with raw(path) as connection:
        assert connection.execute("SELECT hash FROM workloads").fetchall() == [(FEW.workload,)]
        assert connection.execute("SELECT count(*) FROM circumstances").fetchone() == (2,)
    assert store.remove("none") == Removed(trials=2, damaged=0)
    assert store.records() == []
