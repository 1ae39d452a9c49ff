"""`lwc tune status`, `export`, `import` and `prune`: what is done with tuning results."""

import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lwc.cli.options import NewPath, json_option
from lwc.cli.output import emit, emit_json, printable, table
from lwc.cli.save import check_place, save_file
from lwc.cli.tune_bundle import bundle
from lwc.errors import BadInputError

if TYPE_CHECKING:
    from lwc.tune.store import Group

_STDOUT = Path("-")
_COUNTS = ("threads", "kernels", "trials", "wrong", "failed")


@click.command(epilog="\b\nExample:\n  lwc tune status")
@json_option
def status(as_json: bool) -> None:
    """Show how much is known of which machines, with which versions of lwc.

    The store is the file that LWC_TUNING_STORE names, or else in the user's data folder.
    """
    from lwc.tune.store import default_path, open_for_reading

    path = default_path()
    with open_for_reading(path) as store:
        summary = store.summary()
    if as_json:
        groups = [{**asdict(group.circumstances), **_counts(group)} for group in summary.groups]
        emit_json({"store": str(path), "groups": groups, "damaged": summary.damaged})
        return
    emit(printable(str(path)))
    if summary.groups:
        rows = [*map(_row, summary.groups)]
        emit(table(("processor", "code for", *_COUNTS, "versions"), rows, right=_COUNTS))
    else:
        emit("nothing was measured yet")
    if summary.damaged:
        emit(f"{summary.damaged} damaged rows; `lwc tune prune` removes them")


@click.command(
    epilog="\b\nExamples:\n  lwc tune export results.json\n  lwc tune export - | gzip > results.json.gz"
)
@click.argument("file", type=NewPath())
def export(file: Path) -> None:
    """Write all results as JSON to FILE; - is stdout.

    They hold on machines of the same kind, with the same versions, and only there `lwc compile` takes them.
    """
    if file != _STDOUT:
        check_place(file)
    from lwc.tune import exchange
    from lwc.tune.store import default_path, open_for_reading

    with open_for_reading(default_path()) as store:
        text = exchange.export(store)
    if file == _STDOUT:
        emit(text.removesuffix("\n"))
    else:
        save_file(file, "file", lambda opened: opened.write(text.encode()))


@click.command("import", epilog="\b\nExample:\n  lwc tune import results.json")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def take_over(file: Path, as_json: bool) -> None:
    """Take over what `lwc tune export`, or the run of a bundle, wrote to FILE.

    All of it or nothing. Own results stay where they were compared in more rounds, or found to be wrong.
    """
    from lwc.cli.progress import PlainConsole, StageReporter
    from lwc.files import read_regular
    from lwc.tune.bundle import is_results, parse_results
    from lwc.tune.exchange import MAX_BYTES, import_records, parse_records
    from lwc.tune.store import default_path, open_store

    text, failures = read_regular(file, MAX_BYTES, follow_link=True), []
    if is_results(text, str(file)):
        found = parse_results(text, str(file))
        records, failures = found.records, found.failures
    else:
        records = parse_records(text, str(file))
    path, warn = default_path(), StageReporter(PlainConsole()).warn
    for failure, count in Counter(failures).items():
        warn(
            f"{count} programs of the bundle failed on the device, so their choices are not known: {failure}"
        )
    with open_store(path, warn) as store:
        imported = import_records(store, records)
    if as_json:
        emit_json({"store": str(path), **asdict(imported)})
    else:
        emit(f"{imported.added} trials taken over, {imported.kept} own ones kept in their place")


@click.command(epilog="\b\nExample:\n  lwc tune prune")
@json_option
def prune(as_json: bool) -> None:
    """Remove what was measured with other versions of lwc and its compilers, and damaged rows."""
    from lwc.cli.progress import PlainConsole, StageReporter
    from lwc.tune.circumstances import current_versions
    from lwc.tune.store import default_path, open_store

    path = default_path()
    if not os.path.exists(path):
        raise BadInputError(f"{path}: does not exist; `lwc tune` makes it")
    with open_store(path, StageReporter(PlainConsole()).warn) as store:
        removed = store.remove(current_versions())
    if as_json:
        emit_json({"store": str(path), **asdict(removed)})
    else:
        emit(f"{removed.trials} trials of other versions removed, and {removed.damaged} damaged rows")


SUBCOMMANDS = {"bundle": bundle, "status": status, "export": export, "import": take_over, "prune": prune}


def _counts(group: "Group") -> dict[str, int]:
    return {
        "kernels": group.workloads,
        "trials": group.trials,
        "wrong": group.wrong,
        "failed": group.failed,
    }


def _row(group: "Group") -> tuple[str, ...]:
    where = group.circumstances
    counts = map(str, (where.threads, *_counts(group).values()))
    return (where.cpu, _code_for(where.machine), *counts, where.versions)


def _code_for(machine: str) -> str:
    """LLVM's name of the processor in the target's capabilities, which may be anybody's text."""
    try:
        described = json.loads(machine)
    except (ValueError, RecursionError):
        return ""
    return str(described.get("cpu", ""))[:40] if isinstance(described, dict) else ""
