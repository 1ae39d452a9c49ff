"""Kinds of option values, and the options that several verbs share."""

import os
from pathlib import Path
from typing import Any

import click

MAX_THREADS = 256

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
threads_option = click.option(
    "--threads",
    type=click.IntRange(0, MAX_THREADS),
    default=0,
    metavar="N",
    show_default="as many as the device has cores",
    help="Threads that the library uses.",
)
target_option = click.option(
    "--target",
    default="native",
    show_default=True,
    metavar="TARGET",
    help="What to compile for: a name (see `lwc targets`), or triple=...,cpu=...,features=a+b.",
)
package_argument = click.argument("package", type=click.Path(path_type=Path))


class NewPath(click.Path):
    """A path to write to, not empty: that would mean the current folder, and comes from an unset variable."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        if not os.fspath(value):
            self.fail("the path is empty.", param, ctx)
        return super().convert(value, param, ctx)
