"""One SQLite file for several processes: waiting for each other, and writing all or nothing."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from lwc.errors import ResourceError

# Seconds to wait for other processes, each of which holds the file for milliseconds.
PATIENCE = 60.0

BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}

_PAUSE = 0.02

Result = TypeVar("Result")


def error_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, such as sqlite3.SQLITE_BUSY."""
    # The upper bits of an extended code only say more.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def when_free(action: Callable[[], Result], patience: float = PATIENCE) -> Result:
    """The result of `action`, which is begun again while others hold the file, for up to `patience` seconds.

    SQLite waits by itself, but not everywhere: not where a file changes to write-ahead logging.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if error_code(error) not in BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Writes the whole block, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After some errors SQLite has rolled back by itself.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Only one process at a time is in this block; `path` is a file for that alone, which stays.

    Raises ResourceError where another one does not leave it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _locked(handle):
            if time.monotonic() > deadline:
                raise ResourceError(f"{path}: another process does not release it; end that one")
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
