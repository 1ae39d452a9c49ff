"""The store of tuning results: one SQLite file for all kernels, machines and versions of a user.

Several processes may write to it at once; what `add` returned from stays, however a process ends. A row that does not
read back as a valid trial counts as damaged, is left out, and goes with `remove`.
"""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import platformdirs

from lwc.errors import LwcError
from lwc.tune.database import connect_to_read, connect_to_write, reported
from lwc.tune.records import Circumstances, Record, Trial, best_of_each
from lwc.tune.rows import ANY_PROCESSOR, SAME_CIRCUMSTANCES, Replaces, delete_rows, read_rows, write_row
from lwc.tune.sharing import transaction, when_free


@dataclass(frozen=True)
class Group:
    """How much is known in the same circumstances; `wrong` and `failed` are among the `trials`."""

    circumstances: Circumstances
    workloads: int
    trials: int
    wrong: int
    failed: int


@dataclass(frozen=True)
class Summary:
    """What is in a store, and how many rows of it cannot be read."""

    groups: tuple[Group, ...]
    damaged: int


@dataclass(frozen=True)
class Removed:
    """How many trials of other versions, and how many damaged rows, are no longer in a store."""

    trials: int
    damaged: int


def default_path() -> Path:
    """Where the store is: LWC_TUNING_STORE if set, else in the user's data folder."""
    given = os.environ.get("LWC_TUNING_STORE")
    return Path(given) if given else Path(platformdirs.user_data_dir("lwc")) / "tuning.sqlite"


def replaces(new: Trial, old: Trial) -> bool:
    """Whether a new trial of a choice takes the place of an old one in the same circumstances.

    One of fewer rounds says less, but a failure says nothing; and wrong results, once seen, count for ever.
    """
    if old.outcome == "wrong":
        return False
    return new.outcome == "wrong" or old.outcome == "failed" or new.rounds >= old.rounds


@contextmanager
def open_store(path: Path, warn: Callable[[str], None]) -> Iterator["Store"]:
    """The store in `path`, begun where there is none. A damaged file is renamed first, and `warn` hears of it.

    Raises BadInputError where the file is not ours or cannot be written, ResourceError where it stays locked.
    """
    path = Path(os.path.realpath(path))
    with closing(connect_to_write(path, warn)) as connection:
        yield Store(path, connection)


@contextmanager
def open_for_reading(path: Path) -> Iterator["Store"]:
    """The store in `path`, which must be there, and does not change. Raises BadInputError and ResourceError."""
    path = Path(os.path.realpath(path))
    with closing(connect_to_read(path)) as connection:
        yield Store(path, connection)


def read_best(
    path: Path,
    circumstances: Circumstances,
    rounds: int,
    warn: Callable[[str], None],
    any_processor: bool = False,
) -> dict[str, Trial]:
    """By workload what `Store.best_of_each` gives. Of a store that cannot be read, nothing, and `warn` hears why."""
    try:
        with open_for_reading(path) as store:
            return store.best_of_each(circumstances, rounds, any_processor)
    except LwcError as error:
        warn(f"no tuning results are used: {error}")
        return {}


class Store:
    """An open store.

    Its methods raise BadInputError where the file turns out to be damaged or read-only, ResourceError where it stays
    locked or the disk is full.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def add(self, description: str, circumstances: Circumstances, trials: Sequence[Trial]) -> int:
        """Keeps the trials of one kernel, less those that do not replace an earlier one, and returns how many it kept.

        Raises ValueError where `description` is not canonical, or not that of the trials' workload.
        """
        return self.add_records([Record(description, circumstances, trial) for trial in trials])

    def add_records(self, records: Sequence[Record], rule: Replaces = replaces) -> int:
        """Keeps all `records` at once, less those that `rule` keeps out, and returns how many it kept."""

        def add() -> int:
            with transaction(self._connection):
                return sum(write_row(self._connection, record, rule) for record in records)

        with reported(self.path):
            return when_free(add)

    def trials(self, workload: str, circumstances: Circumstances, any_processor: bool = False) -> list[Trial]:
        """What is known of one kernel, in the order of the processors' names and the choices' canonical texts.

        `any_processor`: also on processors that the system calls by another name.
        """
        where = f"{ANY_PROCESSOR if any_processor else SAME_CIRCUMSTANCES} AND workload = ?"
        rows = self._rows(where, *astuple(circumstances), workload)
        return [record.trial for _, record in rows if record]

    def best_of_each(
        self, circumstances: Circumstances, rounds: int, any_processor: bool = False
    ) -> dict[str, Trial]:
        """By workload the trial of the smallest ratio among those that were measured in at least `rounds` rounds.

        `any_processor`: also of processors that the system calls by another name.
        """
        same = ANY_PROCESSOR if any_processor else SAME_CIRCUMSTANCES
        rows = self._rows(same, *astuple(circumstances))
        return best_of_each((record.trial for _, record in rows if record), rounds)

    def records(self) -> list[Record]:
        """All that can be read, in the order of circumstances, workload and choice."""
        return [record for _, record in self._rows("TRUE") if record]

    def summary(self) -> Summary:
        """How much there is, and how much of it is damaged."""
        trials: dict[Circumstances, list[Trial]] = defaultdict(list)
        damaged = 0
        for _, record in self._rows("TRUE"):
            if record:
                trials[record.circumstances].append(record.trial)
            else:
                damaged += 1
        return Summary(tuple(_group(shared, found) for shared, found in trials.items()), damaged)

    def remove(self, versions: str) -> Removed:
        """Removes the records of all versions other than `versions`, and damaged rows."""

        def remove() -> Removed:
            with transaction(self._connection):
                rows = list(self._rows("TRUE"))
                damaged = [number for number, record in rows if record is None]
                others = [number for number, r in rows if r and r.circumstances.versions != versions]
                delete_rows(self._connection, damaged + others)
            return Removed(len(others), len(damaged))

        with reported(self.path):
            return when_free(remove)

    def _rows(self, where: str, *values: object) -> Iterator[tuple[int, Record | None]]:
        with reported(self.path):
            yield from read_rows(self._connection, where, *values)


def _group(circumstances: Circumstances, trials: list[Trial]) -> Group:
    outcomes = [trial.outcome for trial in trials]
    workloads = len({trial.workload for trial in trials})
    return Group(circumstances, workloads, len(trials), outcomes.count("wrong"), outcomes.count("failed"))
