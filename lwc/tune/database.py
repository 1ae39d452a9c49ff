"""The SQLite file of the tuning store: begun, opened, and set aside where it is damaged.

Write-ahead logging lets several processes read and write at once, and keeps what was committed when one is killed.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from lwc.errors import BadInputError, LwcError, ResourceError
from lwc.files import one_line
from lwc.tune.sharing import BUSY, PATIENCE, error_code, one_at_a_time, transaction, when_free

SCHEMA_VERSION = 1
# "lwct": marks the file as ours.
APPLICATION_ID = 0x6C776374
SCHEMA = (
    "CREATE TABLE workloads (hash TEXT PRIMARY KEY, description TEXT NOT NULL)",
    "CREATE TABLE circumstances (id INTEGER PRIMARY KEY, machine TEXT NOT NULL, cpu TEXT NOT NULL, "
    "threads INTEGER NOT NULL, versions TEXT NOT NULL, UNIQUE (machine, cpu, threads, versions))",
    "CREATE TABLE trials (workload TEXT NOT NULL REFERENCES workloads (hash), "
    "circumstances INTEGER NOT NULL REFERENCES circumstances (id), choice TEXT NOT NULL, outcome TEXT NOT NULL, "
    "microseconds REAL, default_microseconds REAL, rounds INTEGER NOT NULL, reason TEXT NOT NULL, "
    "condition TEXT NOT NULL, time TEXT NOT NULL, PRIMARY KEY (workload, circumstances, choice))",
)

# Seconds: a compilation waits for what it reads.
_READING_PATIENCE = 5.0

_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_CLOSED = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_ELSEWHERE = "set LWC_TUNING_STORE to another file"


class _Damaged(sqlite3.DatabaseError):
    """The file is SQLite's, but not as we wrote it."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def connect_to_write(path: Path, warn: Callable[[str], None]) -> sqlite3.Connection:
    """The store in `path`, begun where there is none; a damaged one is renamed, with a warning, and a new one begun.

    Raises BadInputError where the file is another program's or a newer lwc's, or where it cannot be written,
    ResourceError where other processes keep it locked.
    """
    with reported(path):
        _check_regular(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two that begin a store, or rename the same damaged one, would be in each other's way.
        with one_at_a_time(path.with_name(f"{path.name}.lock")):
            try:
                return _connect(path, begin=True, patience=PATIENCE)
            except sqlite3.DatabaseError as error:
                if error_code(error) not in _DAMAGED:
                    raise
                aside = _set_aside(path)
                warn(
                    f"{path}: is damaged ({one_line(error)}); it is {aside.name} now, and a new store begins"
                )
            return _connect(path, begin=True, patience=PATIENCE)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """The store in `path`, which must be there. Raises BadInputError and ResourceError like `connect_to_write`."""
    with reported(path):
        _check_regular(path)
        if not path.exists():
            raise BadInputError(f"{path}: does not exist; `lwc tune` makes it")
        return _connect(path, begin=False, patience=_READING_PATIENCE)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the operating system in the block become BadInputError or ResourceError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explained(path, error) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise BadInputError(f"{str(path)[:200]!r}: cannot be opened ({reason}); {_ELSEWHERE}") from None


def _explained(path: Path, error: sqlite3.Error) -> LwcError:
    code, what = error_code(error), one_line(error)
    if code in _DAMAGED:
        return BadInputError(
            f"{path}: is damaged ({what}); the next `lwc tune` sets it aside and begins anew"
        )
    if code in _CLOSED:
        return BadInputError(f"{path}: cannot be opened or written ({what}); {_ELSEWHERE}")
    if code in BUSY:
        return ResourceError(f"{path}: other processes keep it locked ({what}); try again")
    return ResourceError(f"{path}: cannot be used ({what}); free some disk space, or {_ELSEWHERE}")


def _check_regular(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise BadInputError(f"{path}: is not a regular file; {_ELSEWHERE}")


def _connect(path: Path, begin: bool, patience: float) -> sqlite3.Connection:
    where = f"{path.as_uri()}?mode={'rwc' if begin else 'rw'}"
    connection = sqlite3.connect(where, uri=True, timeout=patience, isolation_level=None)
    # Bytes that are no text make one damaged row, not an error for all.
    connection.text_factory = lambda content: content.decode(errors="surrogateescape")
    try:
        when_free(lambda: _prepare(path, connection, begin), patience)
    except BaseException as error:
        connection.close()
        # SQLite's message quotes names, as they are in the file.
        if isinstance(error, UnicodeDecodeError):
            raise _Damaged("its schema is no text") from None
        raise
    return connection


def _prepare(path: Path, connection: sqlite3.Connection, begin: bool) -> None:
    """Makes a store of an empty file where `begin`; checks all others."""
    # A process may have been killed between making the file and filling it.
    if begin and _is_empty(connection):
        connection.execute("PRAGMA journal_mode=WAL")
        with transaction(connection):
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    _check_schema(path, connection)
    if not begin:
        connection.execute("PRAGMA query_only=ON")
        return
    ((verdict,), *_) = connection.execute("PRAGMA integrity_check(1)")
    if verdict != "ok":
        raise _Damaged(verdict)
    # Trials take seconds and a sync milliseconds: what was added survives even a power cut.
    connection.execute("PRAGMA synchronous=FULL")
    # SQLite opens a read-only file all the same: whoever tunes should not learn of it hours later.
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _is_empty(connection: sqlite3.Connection) -> bool:
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    ((owner,),) = connection.execute("PRAGMA application_id")
    return bool(tables == 0 and owner == 0)


def _check_schema(path: Path, connection: sqlite3.Connection) -> None:
    ((owner,),) = connection.execute("PRAGMA application_id")
    if owner != APPLICATION_ID:
        raise BadInputError(f"{path}: is not a store of tuning results; {_ELSEWHERE}")
    ((version,),) = connection.execute("PRAGMA user_version")
    if version != SCHEMA_VERSION:
        raise BadInputError(
            f"{path}: has version {version}, this lwc knows {SCHEMA_VERSION}; update lwc, or {_ELSEWHERE}"
        )
    present = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master")}
    if not present >= set(SCHEMA):
        raise _Damaged("its tables are not those of a store")


def _set_aside(path: Path) -> Path:
    """Renames `path` and its log, so that SQLite still knows them as one, and returns the new name."""
    free = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    aside = next(candidate for candidate in free if not candidate.exists())
    # The log first: a new file of the old name must not find it.
    for suffix in ("-wal", "-shm", "-journal", ""):
        with suppress(FileNotFoundError):
            path.with_name(f"{path.name}{suffix}").rename(aside.with_name(f"{aside.name}{suffix}"))
    return aside
