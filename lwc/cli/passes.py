"""`lwc passes`: the rewrites that a graph goes through."""

import dataclasses
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from lwc.cli.options import json_option
from lwc.cli.output import emit, emit_json, table
from lwc.errors import LwcError

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

    # A package may print; stdout is for the result.
    with redirect_stdout(sys.stderr):
        documents = [_describe(make_pass(name)) for name in PASSES] + _describe_installed()
    if as_json:
        emit_json({"passes": documents, "default": list(DEFAULT)})
        return
    emit(table(("pass", "what it does", "options"), [_row(document) for document in documents]))
    emit(f"\ndefault: {','.join(DEFAULT)}")


def _describe(item: "Pass[Any]") -> dict[str, Any]:
    description = (type(item).__doc__ or "").strip().partition("\n")[0]
    options = {field.name.replace("_", "-"): field.default for field in dataclasses.fields(item)}
    return {"name": item.name, "description": description, "options": options}


def _describe_installed() -> list[dict[str, Any]]:
    """Those of installed packages; of one that cannot be used, what is wrong with it."""
    from lwc.pipeline.registry import installed_passes, load_installed, with_options

    documents: list[dict[str, Any]] = []
    try:
        offered = installed_passes()
    except LwcError as error:
        return [{"name": "installed packages", "error": str(error)}]
    for name, points in offered.items():
        try:
            documents.append(_describe(with_options(load_installed(name, points), {})))
        except LwcError as error:
            documents.append({"name": name, "error": str(error)})
    return documents


def _row(document: dict[str, Any]) -> tuple[str, str, str]:
    if "error" in document:
        return document["name"], document["error"], "-"
    return document["name"], document["description"], _options(document["options"])


def _options(options: dict[str, Any]) -> str:
    return " ".join(f"{name}={default}" for name, default in options.items()) or "-"
