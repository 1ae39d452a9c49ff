"""benchmarks/README.md from what `lwc bench --json` wrote.

lwc bench mobilenet_v1 mobilenet_v2 levit_128s mobilevit_small --weights random --json figures.json
python benchmarks/table.py figures.json > benchmarks/README.md
"""

import json
from pathlib import Path
from typing import Any

import click

_HEAD = """\
# Latency beside other engines

`make bench` measures and writes this page: batch 1, float32, the same random weights and input for all, each engine in
a process of its own, rounds interleaved. Median milliseconds, and in brackets how lwc's latency compares: below 1, lwc
is faster. A ratio is the median over the rounds, each beside the other.
"""


@click.command()
@click.argument("figures", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(figures: Path) -> None:
    """Print the page for FIGURES."""
    found = json.loads(figures.read_text())
    machine, models = found["machine"], found["models"]
    click.echo(_HEAD)
    click.echo(
        f"{machine['date']}, {machine['threads']} threads on {machine['cores']} cores of {machine['processor']}"
        f" ({machine['target']}); {found['rounds']} rounds of {found['repeat']} runs."
    )
    engines = [(entry["engine"], _version(models, place)) for place, entry in enumerate(models[0]["engines"])]
    click.echo("\n| | " + " | ".join(model["model"] for model in models) + " |")
    click.echo("|---|" + "---|" * len(models))
    for place, (engine, version) in enumerate(engines):
        cells = [_cell(model["engines"][place], model["best"]) for model in models]
        click.echo(f"| {f'{engine} {version}'.strip()} | " + " | ".join(cells) + " |")
    for reason in sorted({_failure(entry) for model in models for entry in model["engines"]} - {""}):
        click.echo(f"\n{reason}.")


def _version(models: list[dict[str, Any]], place: int) -> str:
    return next((v for model in models if (v := model["engines"][place]["version"])), "")


def _cell(entry: dict[str, Any], best: str | None) -> str:
    if entry["failure"] is not None:
        return "-"
    text = f"{entry['median']:.2f}"
    if entry["engine"] != "lwc" and entry["ratio"] is not None:
        text += f" ({entry['ratio']:.2f})"
    return f"**{text}**" if entry["engine"] == best else text


def _failure(entry: dict[str, Any]) -> str:
    return "" if entry["failure"] is None else f"{entry['engine']}: {entry['failure']}"


if __name__ == "__main__":
    main()
