"""A store in a folder of its own, and a mark for all processes that a test starts."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from lwc.tune.records import Record
from lwc.tune.store import Store, open_store
from tests.tune.made import HERE, kernel, measured, no_warning
from tests.tune.marked import MARK


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    """What `marked` finds the processes by that are started from now on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, secrets.token_hex(8))
        yield os.environ[MARK]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's store is, or will be: in a folder that is not there yet."""
    return tmp_path / "data" / "tuning.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """An open store with nothing in it."""
    with open_store(path, no_warning) as store:
        yield store


@pytest.fixture
def filled(path: Path) -> Path:
    """A store of a hundred kernels, on several pages."""
    with open_store(path, no_warning) as store:
        store.add_records([Record(d, HERE, measured(d)) for d in map(kernel, range(100))])
    assert path.stat().st_size > 8 * 4096
    return path
