"""Trials for a device that no network reaches: an archive of programs to run there, and what its results mean.

The archive has `run.sh`, which runs them all and writes results.json, with what the bundle says of itself in it: that
file is all that has to come back. It may come from anybody, and is checked as such.
"""

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from lwc.errors import BadInputError
from lwc.files import one_line, parse_json_object
from lwc.package.frozen import Count, Frozen
from lwc.tune.exchange import first_problem
from lwc.tune.job import LIST, RUNNER, Job, Report, add_text, needed_files, nobodys
from lwc.tune.measure import Asked, outcomes_of
from lwc.tune.outcomes import trial_of
from lwc.tune.records import Circumstances, Record, workload_of
from lwc.tune.trials import Refusal

SCHEMA_VERSION: Literal[1] = 1
RESULTS = "results.json"
# The folder that the archive unpacks to.
FOLDER = "lwc-tune"
_SCRIPT = f"""\
#!/bin/sh
# Runs all trials, and writes {RESULTS}; what is given stands before each program, such as: ./run.sh taskset -c 4-7
set -e
cd "$(dirname "$0")"
rm -f {RESULTS}
"$@" ./{RUNNER} {LIST} "$@" > report.json
{{ printf '{{"bundle": '; cat bundle.json; printf ', "report": '; cat report.json; printf '}}\\n'; }} > new.json
mv new.json {RESULTS}
echo "done: \\`lwc tune import $(pwd)/{RESULTS}\\`, on the machine that the bundle is from" >&2
"""

Choices = Annotated[tuple[dict[str, int], ...], Field(min_length=1)]


class Entry(Frozen):
    """A program of the bundle: the kernel, the `choices` for it, and what its answers are read by (see `Asked`)."""

    description: str
    choices: Choices
    runs: Annotated[int, Field(ge=1)]
    copies: Annotated[tuple[int, ...], Field(min_length=1)]
    samples: Count
    limits: tuple[float, ...]


class Bundle(Frozen):
    """What was bundled, for which circumstances (see `Circumstances`; the processor is the device's own)."""

    schema_version: Literal[1]
    machine: str
    threads: int
    versions: str
    rounds: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(gt=0)]
    programs: tuple[Entry, ...]


class Results(Frozen):
    """What `run.sh` wrote."""

    bundle: Bundle
    report: Report


@dataclass(frozen=True)
class Imported:
    """The records in results, and how many programs of the bundle failed on the device, by how they did."""

    records: list[Record]
    failures: list[str] = field(default_factory=list)


def add_program(archive: tarfile.TarFile, job: Job, name: str) -> str:
    """Adds the one program that `job` runs, and returns the lines of the list for it."""
    (folder,) = job.folders
    for path in needed_files(folder):
        archive.add(path, f"{FOLDER}/{name}/{path.name}", filter=nobodys)
    return job.listed({folder: name})


def add_frame(archive: tarfile.TarFile, bundle: Bundle, runs: Iterable[str], runner: Path) -> None:
    """Adds what is there beside the programs."""
    add_text(archive, f"{FOLDER}/run.sh", _SCRIPT, 0o755)
    add_text(archive, f"{FOLDER}/{LIST}", "".join(runs))
    add_text(archive, f"{FOLDER}/bundle.json", bundle.model_dump_json())
    archive.add(runner, f"{FOLDER}/{RUNNER}", filter=nobodys)


def is_results(text: bytes, where: str) -> bool:
    """Whether a JSON text is what a bundle's `run.sh` wrote. Raises BadInputError where it is no JSON object."""
    return "bundle" in parse_json_object(text, where)


def parse_results(text: bytes, where: str) -> Imported:
    """The records in what `run.sh` wrote; `where` names it in errors. Raises BadInputError where it is malformed."""
    try:
        results = TypeAdapter(Results).validate_json(text)
        bundle = results.bundle
        if len(results.report.runs) != sum(program.runs for program in bundle.programs):
            raise BadInputError(f"{where}: its report is not of its bundle; run the bundle again")
        circumstances = Circumstances(bundle.machine, results.report.cpu, bundle.threads, bundle.versions)
        return _records(bundle, results.report, circumstances)
    except ValidationError as error:
        raise BadInputError(f"{where}: {first_problem(error)}; run the bundle again") from None
    except ValueError as error:
        raise BadInputError(f"{where}: {one_line(error)}; run the bundle again") from None


def _records(bundle: Bundle, report: Report, circumstances: Circumstances) -> Imported:
    imported, first = Imported([]), 0
    for program in bundle.programs:
        runs = report.runs[first : first + program.runs]
        first += program.runs
        outcomes = outcomes_of(_asked(program, bundle.seconds), runs, report.condition)
        if isinstance(outcomes, Refusal):
            imported.failures.append(outcomes.reason)
            continue
        workload = workload_of(program.description)
        for choice, outcome in zip(program.choices, outcomes, strict=True):
            trial = trial_of(workload, choice, outcome, bundle.rounds)
            imported.records.append(Record(program.description, circumstances, trial))
    return imported


def _asked(program: Entry, seconds: float) -> Asked:
    if set(program.copies) - {-1} != set(range(1 + len(program.choices))):
        raise ValueError("a program's kernels are not its choices'")
    if program.limits and len(program.limits) != 1 + len(program.choices):
        raise ValueError("a program's limits are not its choices'")
    if (program.samples if program.limits else 0) >= program.runs:
        raise ValueError("a program has more samples than runs")
    return Asked(program.copies, program.samples, program.limits, seconds)
