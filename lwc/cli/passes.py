"""`lwc passes`: the rewrites that a graph goes through."""

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from lwc.cli.options import json_option
from lwc.cli.output import emit, emit_json, table

if TYPE_CHECKING:
    from lwc.pipeline import Pass

_EPILOG = """\
\b
Examples:
  lwc passes
  lwc compile mobilenet_v1 --passes default,-fuse-activation
  lwc compile mobilenet_v1 --passes "raise-operators,fold-constants{max-elements=4096}"
"""


@click.command(epilog=_EPILOG)
@json_option
def command(as_json: bool) -> None:
    """List the passes, their options, and the order in which they run by default.

    Those of installed packages are among them.
    """
    from lwc.pipeline import DEFAULT, PASSES, make_pass
    from lwc.pipeline.registry import installed_passes

    documents = [_describe(make_pass(name)) for name in (*PASSES, *installed_passes())]
    if as_json:
        emit_json({"passes": documents, "default": list(DEFAULT)})
        return
    rows = [(d["name"], d["description"], _options(d["options"])) for d in documents]
    emit(table(("pass", "what it does", "options"), rows))
    emit(f"\ndefault: {','.join(DEFAULT)}")


def _describe(item: "Pass[Any]") -> dict[str, Any]:
    description = (type(item).__doc__ or "").strip().partition("\n")[0]
    options = {field.name.replace("_", "-"): field.default for field in dataclasses.fields(item)}
    return {"name": item.name, "description": description, "options": options}


def _options(options: dict[str, Any]) -> str:
    return " ".join(f"{name}={default}" for name, default in options.items()) or "-"
