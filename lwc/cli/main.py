"""The command `lwc`."""

import sys
from collections.abc import Sequence

import click

from lwc.cli.failures import catch_signals, run_guarded
from lwc.cli.streams import claim_streams
from lwc.cli.verbs import LazyGroup

_EPILOG = """\
\b
Exit codes:
  0    done
  2    the command line is wrong
  3    a file, name or value is missing or malformed
  4    valid, but lwc cannot compile it, or not for this target
  5    a result or a file disagrees with what it must be
  6    memory, disk, time or a tool is missing
  70   a fault of lwc itself
  130  interrupted (141: the reader of stdout is gone; 143: terminated)

\b
Set LWC_DEBUG=1 to see tracebacks and all that the libraries print.
"""


@click.group(
    cls=LazyGroup,
    no_args_is_help=False,
    subcommand_metavar="VERB ...",
    options_metavar="",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="lwc", prog_name="lwc", message="%(prog)s %(version)s")
def cli() -> None:
    """Compile lightweight vision models into small, self-contained shared libraries.

    \b
    For example:
      lwc compile mobilenet_v1 --target arm64
      lwc run mobilenet_v1-native --input cat.jpg
    """


def main() -> int:
    """The entry point: runs the process's command line and returns its exit code."""
    claim_streams()
    return run(sys.argv[1:], catch_signals())


def run(arguments: list[str], signals: Sequence[BaseException] = ()) -> int:
    """Runs one command line and returns its exit code; never raises. `signals`: see `run_guarded`."""
    return run_guarded(lambda: _invoke(arguments), signals)


def _invoke(arguments: list[str]) -> None:
    """What `cli.main` does, without its own handling of errors: see `failures`."""
    with cli.make_context("lwc", arguments) as context:
        cli.invoke(context)
