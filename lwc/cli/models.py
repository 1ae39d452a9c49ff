"""`lwc models`: the zoo."""

import click

from lwc.cli.options import json_option

_EPILOG = """\
\b
Example:
  lwc models
"""


@click.command(epilog=_EPILOG)
@json_option
def command(as_json: bool) -> None:
    """List the models that lwc knows by name, with the size of their published checkpoints.

    MACs are multiplications with an addition, for one image.
    """
