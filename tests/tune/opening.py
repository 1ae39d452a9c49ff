"""What opening a store's file says, to those who write and to those who read."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lwc.errors import BadInputError, LwcError
from lwc.tune.store import open_store, read_best
from tests.tune.made import HERE, no_warning


def execute(path: Path, *statements: str) -> None:
    """Change the file without lwc."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def refused(path: Path, says: str, error: type[LwcError] = BadInputError) -> None:
    """Nobody opens the store; a compilation goes on without, with one line."""
    with pytest.raises(error, match=says) as caught, open_store(path, no_warning):
        pass
    assert str(path.name)[:50] in str(caught.value)
    assert "\n" not in str(caught.value)
    unread(path, says)


def unread(path: Path, says: str) -> None:
    """A compilation finds nothing, and says so in one line."""
    warnings: list[str] = []
    assert read_best(path, HERE, 1, warnings.append) == {}
    (warning,) = warnings
    assert re.search(says, warning)
    assert "\n" not in warning
