"""What lies between a model's time and the arithmetic limit of the machine, by kind of kernel.

lwc profile PACKAGE --threads 2 --json | python benchmarks/gap.py -

Prints, for each kind of kernel: the calls, their time, the time of their multiply-adds at the machine's peak, and how
much of what is above the limit they make.
"""

import json
import re
from collections import defaultdict
from typing import Any, TextIO

import click


@click.command()
@click.argument("profile", type=click.File())
def main(profile: TextIO) -> None:
    """Print the table for PROFILE, what `lwc profile --json` printed; - is stdin."""
    found = json.loads(profile.read())
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in found["calls"]:
        kinds[_kind(call["kernel"])].append(call)
    rows = [_row(kind, calls) for kind, calls in kinds.items()]
    whole = found["run_us"]
    rows.append(("beside the calls", 0, whole - sum(row[2] for row in rows), 0.0))
    limit = sum(row[3] for row in rows)
    click.echo(f"run {whole:.0f} us, limit {limit:.0f} us\n")
    click.echo("| kernel | calls | us | at the peak | of it | of what is above |\n|---|---|---|---|---|---|")
    for kind, count, time, least in sorted(rows, key=lambda row: row[3] - row[2]):
        share = f"{100 * least / time:.0f}%" if least else ""
        above = 100 * (time - least) / (whole - limit)
        click.echo(f"| {kind} | {count or ''} | {time:.0f} | {least:.0f} | {share} | {above:.0f}% |")


def _kind(kernel: str) -> str:
    """The template's name; of TVM's own kernels, that they move data."""
    own = re.fullmatch(r"lwc_([a-z0-9]+?)\d*", kernel)
    return own[1] if own else "other"


def _row(kind: str, calls: list[dict[str, Any]]) -> tuple[str, int, float, float]:
    """Kind, number of calls, their microseconds, and those of their multiply-adds at the machine's peak."""
    return kind, len(calls), sum(call["us"] for call in calls), sum(call["limit_us"] for call in calls)


if __name__ == "__main__":
    main()
