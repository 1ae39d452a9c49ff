"""Tuning results as a JSON text, to take from one machine to another of the same kind.

A record is a kernel in its circumstances, with all its trials, a line each: texts of stores that share most differ
little.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from lwc.errors import BadInputError
from lwc.files import one_line, parse_json_object, shortened
from lwc.package.frozen import Frozen
from lwc.tune.records import Circumstances, Record, Trial
from lwc.tune.store import Store, replaces

SCHEMA_VERSION: Literal[1] = 1
# A trial takes about 300 bytes; a model tuned with full effort has some thousands.
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Imported:
    """How many trials of a text a store took over, and in how many cases it kept its own."""

    added: int
    kept: int


class _Kernel(Frozen):
    description: str
    circumstances: Circumstances
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_described(self) -> "_Kernel":
        self.records()
        return self

    def records(self) -> list[Record]:
        return [Record(self.description, self.circumstances, trial) for trial in self.trials]


class _Exchange(Frozen):
    schema_version: Literal[1]
    records: tuple[_Kernel, ...]


def export(store: Store) -> str:
    """All intact records of `store`, the same text for the same records.

    Raises BadInputError where it would be longer than what is read again.
    """
    kernels = groupby(store.records(), lambda record: (record.description, record.circumstances))
    entries = [_entry(*shared, (record.trial for record in records)) for shared, records in kernels]
    text = f'{{"schema_version": {SCHEMA_VERSION}, "records": [\n' + ",\n".join(entries) + "\n]}\n"
    if len(text) > MAX_BYTES:
        raise BadInputError(f"{store.path}: its text has more than {MAX_BYTES} bytes; prune it first")
    return text


def parse_records(text: bytes, where: str) -> list[Record]:
    """What `export` wrote; `where` names the text in errors.

    Raises BadInputError, with the position, where any record is malformed.
    """
    if len(text) > MAX_BYTES:
        raise BadInputError(f"{where}: has more than {MAX_BYTES} bytes; is it the right file?")
    # pydantic's own parser would let duplicate keys pass.
    version = parse_json_object(text, where).get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise BadInputError(
            f"{where}: schema_version is {version!r:.40}, this lwc reads {SCHEMA_VERSION}; export it again"
        )
    try:
        exchange = _Exchange.model_validate_json(text)
    except ValidationError as error:
        raise BadInputError(f"{where}: {first_problem(error)}; export it again") from None
    return [record for kernel in exchange.records for record in kernel.records()]


def import_records(store: Store, records: Sequence[Record]) -> Imported:
    """Takes over records of another store, all of them or none.

    What the store found to be wrong, or compared in more rounds, it keeps.
    """
    added = store.add_records(records, _replaces_own)
    return Imported(added, len(records) - added)


def _replaces_own(new: Trial, old: Trial) -> bool:
    return new.rounds >= old.rounds and replaces(new, old)


def _entry(description: str, circumstances: Circumstances, trials: Iterable[Trial]) -> str:
    head = (
        f'{{"description": {_line(description)}, "circumstances": {_line(asdict(circumstances))}, "trials": ['
    )
    return head + "\n" + ",\n".join(_line(asdict(trial)) for trial in trials) + "\n]}"


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def first_problem(error: ValidationError) -> str:
    """Where a document is malformed first, and how."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    position = ".".join(str(part) for part in first["loc"])
    problem = one_line(first["msg"])
    return f"{shortened(position, 120)}: {problem}" if position else problem
