"""`lwc tune`: measure faster kernels for a model; and, by its first word, what is done with the results."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lwc.cli.duration import duration
from lwc.cli.int8_options import int8_options
from lwc.cli.model_options import model_options, pass_options
from lwc.cli.options import NewPath, json_option, target_option, threads_option
from lwc.cli.output import emit, emit_json
from lwc.cli.plots import plot_form
from lwc.cli.save import save_file
from lwc.cli.tune_request import tuning_request
from lwc.cli.tune_store import SUBCOMMANDS
from lwc.errors import STOPS, UsageError
from lwc.models.request import ModelRequest
from lwc.targets.resolve import resolve_target
from lwc.tune.effort import EFFORTS, Effort

_DEFAULT_EFFORT = "normal"
_MOST_TRIALS = 1_000_000
_EPILOG = """\
\b
Without a network, and what is done with the results:
  lwc tune bundle MODEL      write an archive of trials, to be run on a device by hand
  lwc tune status            what was measured, where and with which versions
  lwc tune export FILE       write all of it, for another machine of the same kind; - is stdout
  lwc tune import FILE       take over what was exported, or what a bundle's run wrote
  lwc tune prune             forget what was measured with other versions

A model's folder that is called like one of these is given as ./status.

\b
Examples:
  lwc tune mobilenet_v1
  lwc tune levit_128s --effort quick --plot levit.svg
  lwc tune mobilenet_v2 --time 10m --threads 2
  lwc tune mobilenet_v1 --precision int8 --calibrate my-images --trials 35
  lwc tune mobilenet_v2 --target cortex-a76 --device ssh://pi@board --run-with "taskset -c 4-7"
  lwc tune mobilevit_small --effort full --builders tcp://10.0.0.5:8786
"""


class _WithSubcommands(click.Command):
    """Another command where the first word is the name of one: a group would want every model to be one."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in SUBCOMMANDS:
            return SUBCOMMANDS[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=_WithSubcommands, epilog=_EPILOG)
@model_options
@target_option
@pass_options
@int8_options
@click.option(
    "--effort",
    type=click.Choice(tuple(EFFORTS)),
    show_default=_DEFAULT_EFFORT,
    help="How much to try: a few minutes, some more, or up to hours.",
)
@click.option(
    "--trials",
    type=click.IntRange(1, _MOST_TRIALS),
    metavar="N",
    help="Choices to try of each kernel, in place of --effort; those of earlier runs count.",
)
@click.option(
    "--time",
    "seconds",
    type=duration,
    metavar="TIME",
    help="How long to search: 90s, 10m, 1h. Alone it is the only limit.",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Go on from what earlier runs measured, or try it again.",
)
@threads_option
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="URL",
    help="Where the kernels run, in place of this machine: ssh://USER@HOST, or rpc://HOST:PORT/KEY of a tracker of TVM."
    " Several of a kind share the work.",
)
@click.option(
    "--run-with",
    default="",
    metavar="COMMAND",
    help='What stands before each program on the devices, such as "taskset -c 4-7".',
)
@click.option(
    "--builders",
    metavar="ADDRESS",
    help="Build on the Dask cluster of this scheduler, such as tcp://10.0.0.5:8786.",
)
@click.option("--plot", type=NewPath(), metavar="FILE", help="Draw how each search went, as .png or .svg.")
@json_option
def command(
    request: ModelRequest,
    target: str,
    passes: dict[str, Any],
    precision: str | None,
    calibrate: str | None,
    observer: str | None,
    effort: str | None,
    trials: int | None,
    seconds: float | None,
    resume: bool,
    threads: int,
    devices: tuple[str, ...],
    run_with: str,
    builders: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Look for faster kernels for MODEL on this machine or on other devices, and keep what was measured.

    Candidates are built and run beside the planned kernels; the fastest are confirmed, with their results held
    against PyTorch's, and compared in the whole model. `lwc compile` with the same options then takes them.

    Each batch of trials is kept as soon as it is over: a search can be interrupted, and every run goes on from what is
    known. MODEL is what `lwc compile` takes.
    """
    if run_with and not devices:
        raise UsageError("--run-with: is for programs on other devices; give --device, too")
    chosen, form = replace(_effort(effort, trials, seconds), resume=resume), plot_form(plot)
    # A package of the user's may print; stdout is for the result.
    with redirect_stdout(sys.stderr):
        resolve_target(target)
    from lwc.cli.progress import PlainConsole, StageReporter

    console = PlainConsole()
    with StageReporter(console).live("start"):
        from lwc.bench.machine import this_machine
        from lwc.cli.tune_progress import TuneReporter
        from lwc.cli.tune_report import tuned_document, tuned_text
        from lwc.profile.peak import known_peak
        from lwc.tune.reach import open_devices
        from lwc.tune.store import default_path
        from lwc.tuning import HERE, Places, tune_model
    reporter = TuneReporter(console, chosen.seconds, known_peak(this_machine(threads)))
    with redirect_stdout(sys.stderr), open_devices(devices, run_with) as opened, _kept():
        asked = tuning_request(request, target, passes, threads, (precision, calibrate, observer))
        places = Places(opened or HERE.devices, builders)
        tuned = tune_model(asked, chosen, default_path(), reporter, reporter.watch, places)
    if plot is not None:
        from lwc.tune.plot import search_plot

        save_file(plot, "--plot", lambda file: search_plot(tuned.searches, request.model, file, form))
    if as_json:
        emit_json(tuned_document(tuned, request.model, default_path(), chosen))
    else:
        emit(tuned_text(tuned))


def _effort(name: str | None, trials: int | None, seconds: float | None) -> Effort:
    if name is not None and trials is not None:
        raise UsageError("--effort and --trials: both say how much to try; give one of the two")
    if trials is not None:
        return Effort(trials, seconds)
    if name is None and seconds is not None:
        return Effort(_MOST_TRIALS, seconds)
    effort = EFFORTS[name or _DEFAULT_EFFORT]
    limits = [limit for limit in (effort.seconds, seconds) if limit is not None]
    return Effort(effort.trials, min(limits, default=None))


@contextmanager
def _kept() -> Iterator[None]:
    """Says, where the block is interrupted, that nothing is lost."""
    try:
        yield
    except STOPS as stop:
        stop.add_note("what was measured is kept, and the same command goes on from there")
        raise
