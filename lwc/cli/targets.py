"""`lwc targets`: what each name of a target stands for."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import click

from lwc.cli.options import json_option
from lwc.cli.output import emit, emit_json, table
from lwc.errors import LwcError
from lwc.targets.installed import installed_targets, load_installed
from lwc.targets.resolve import OWN, resolve_target
from lwc.targets.target import Target

_EPILOG = """\
\b
Example:
  lwc targets

\b
A machine that is not listed:
  lwc compile mobilenet_v1 --target triple=aarch64-linux-gnu,cpu=cortex-a78,features=neon+dotprod
"""


@click.command(epilog=_EPILOG)
@json_option
def command(as_json: bool) -> None:
    """List the targets; `native` is resolved to this machine."""
    # A package may print; stdout is for the result.
    with redirect_stdout(sys.stderr):
        documents = [_describe(name, partial(resolve_target, name)) for name in OWN] + _describe_installed()
    if as_json:
        emit_json(documents)
        return
    header = ("name", "triple", "cpu", "features", "bits", "int8 dot", "description")
    emit(table(header, [_row(document) for document in documents], right=("bits",)))


def _describe_installed() -> list[dict[str, Any]]:
    try:
        offered = installed_targets()
    except LwcError as error:
        return [{"name": "installed packages", "error": str(error)}]
    return [_describe(name, partial(load_installed, points, OWN)) for name, points in offered.items()]


def _describe(name: str, resolve: Callable[[], Target]) -> dict[str, Any]:
    """The target's capabilities, or the reason why it has none: no machine for `native`, a faulty package."""
    try:
        target = resolve()
    except LwcError as error:
        return {"name": name, "error": str(error)}
    return {
        "name": target.name,
        "triple": target.triple,
        "cpu": target.cpu,
        "features": list(target.features),
        "vector_bits": target.vector_bits,
        "int8_dot": target.int8_dot,
        "gpu": target.gpu and target.gpu.architecture,
        "description": target.description,
    }


def _row(document: dict[str, Any]) -> tuple[str, ...]:
    if "error" in document:
        return (document["name"], "-", "-", "-", "-", "-", document["error"])
    return (
        document["name"],
        document["triple"],
        document["cpu"],
        ",".join(document["features"]) or "-",
        "-" if document["gpu"] else str(document["vector_bits"]),
        "yes" if document["int8_dot"] else "no",
        document["description"],
    )
