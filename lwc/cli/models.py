"""`lwc models`: the zoo."""

from dataclasses import asdict

import click

from lwc.cli.options import json_option
from lwc.cli.output import emit, emit_json, table
from lwc.cli.units import short_count, short_shape

_EPILOG = """\
\b
Example:
  lwc models
"""


@click.command(epilog=_EPILOG)
@json_option
def command(as_json: bool) -> None:
    """List the models that lwc knows by name, with the size of their published versions.

    MACs are multiplications with an addition, for one image.
    """
    from lwc.models.count import zoo_summary

    rows = zoo_summary()
    if as_json:
        emit_json([asdict(row) for row in rows])
        return
    cells = [
        (
            row.name,
            short_count(row.parameters),
            short_count(row.macs),
            short_shape(row.input_shape),
            row.task,
            row.hub_id,
        )
        for row in rows
    ]
    header = ("name", "parameters", "MACs", "input", "task", "Hugging Face id")
    emit(table(header, cells, right=("parameters", "MACs")))
