"""Records as rows of the store's tables."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any

from lwc.tune.records import Circumstances, Record, Trial, canonical_json, parse_canonical

SAME_CIRCUMSTANCES = "machine = ? AND cpu = ? AND threads = ? AND versions = ?"
# Of the same values, the processor's any.
ANY_PROCESSOR = "machine = ? AND ? <> '' AND threads = ? AND versions = ?"

_SELECT = (
    "SELECT trials.rowid, description, machine, cpu, threads, versions, workload, choice, outcome, microseconds, "
    "default_microseconds, rounds, reason, condition FROM trials LEFT JOIN workloads ON hash = workload "
    "LEFT JOIN circumstances ON id = circumstances WHERE {} "
    "ORDER BY machine, cpu, threads, versions, workload, choice"
)

Replaces = Callable[[Trial, Trial], bool]


def read_rows(
    connection: sqlite3.Connection, where: str, *values: object
) -> Iterator[tuple[int, Record | None]]:
    """The number of each row of `trials` and its record, None where it is damaged: in the records' order."""
    for row in connection.execute(_SELECT.format(where), values):
        yield row[0], _record(row)


def write_row(connection: sqlite3.Connection, record: Record, replaces: Replaces) -> bool:
    """Writes `record`, unless an intact row of the same choice stays, and returns whether it did."""
    trial, choice = record.trial, canonical_json(record.trial.choice)
    circumstances = _write_circumstances(connection, record.circumstances)
    connection.execute(
        "INSERT INTO workloads VALUES (?, ?) ON CONFLICT (hash) DO UPDATE "
        "SET description = excluded.description WHERE description <> excluded.description",
        (trial.workload, record.description),
    )
    key = (trial.workload, circumstances, choice)
    for _, old in read_rows(connection, "workload = ? AND circumstances = ? AND choice = ?", *key):
        if old is not None and not replaces(trial, old.trial):
            return False
    times = (trial.microseconds, trial.default_microseconds)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    connection.execute(
        "INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*key, trial.outcome, *times, trial.rounds, trial.reason, trial.condition, now),
    )
    return True


def delete_rows(connection: sqlite3.Connection, numbers: list[int]) -> None:
    """Deletes these rows of `trials`, and what no row refers to any more."""
    connection.executemany("DELETE FROM trials WHERE rowid = ?", [(number,) for number in numbers])
    connection.execute("DELETE FROM workloads WHERE hash NOT IN (SELECT workload FROM trials)")
    connection.execute("DELETE FROM circumstances WHERE id NOT IN (SELECT circumstances FROM trials)")


def _write_circumstances(connection: sqlite3.Connection, circumstances: Circumstances) -> int:
    values = astuple(circumstances)
    connection.execute(
        "INSERT OR IGNORE INTO circumstances (machine, cpu, threads, versions) VALUES (?, ?, ?, ?)", values
    )
    query = f"SELECT id FROM circumstances WHERE {SAME_CIRCUMSTANCES}"
    number: int = connection.execute(query, values).fetchone()[0]
    return number


def _record(row: tuple[Any, ...]) -> Record | None:
    _, description, machine, cpu, threads, versions, workload, choice, *rest = row
    try:
        trial = Trial(workload, parse_canonical(choice), *rest)
        return Record(description, Circumstances(machine, cpu, threads, versions), trial)
    except ValueError:
        return None
