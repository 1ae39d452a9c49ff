"""`lwc profile`: the time of every kernel in a package."""

from pathlib import Path

import click

from lwc.cli.options import NewPath, json_option, package_argument, threads_option
from lwc.cli.output import emit, emit_json
from lwc.cli.plots import plot_form
from lwc.cli.save import save_file

_EPILOG = """\
\b
Examples:
  lwc profile mobilenet_v1-native --threads 2
  lwc profile mobilenet_v1-native --plot roofline.svg
"""


@click.command(epilog=_EPILOG)
@package_argument
@threads_option
@click.option(
    "--repeat",
    type=click.IntRange(1, 100000),
    default=200,
    show_default=True,
    metavar="N",
    help="Runs with the counter, and as many without.",
)
@click.option("--plot", type=NewPath(), metavar="FILE", help="Draw a roofline, as .png or .svg.")
@click.option("--measure-peak", is_flag=True, help="Measure what the machine can do at most anew.")
@json_option
def command(
    package: Path, threads: int, repeat: int, plot: Path | None, measure_peak: bool, as_json: bool
) -> None:
    """Show how long each kernel of PACKAGE takes, on its stored sample, and what it makes of the machine.

    The times are medians, measured in the library itself. The machine's peak, of multiply-adds and of reading from
    memory, is measured once and kept. Bytes are those of all operands, weights included.
    """
    form = plot_form(plot)
    from lwc.bench.machine import this_machine
    from lwc.cli.profile_report import profile_document, profile_text
    from lwc.cli.progress import PlainConsole, StageReporter
    from lwc.profile.peak import machine_peak
    from lwc.profile.profile import profile_package

    machine = this_machine(threads)
    reporter = StageReporter(PlainConsole())
    with reporter.live("profile"):
        profile = profile_package(package, machine.threads, repeat)
    with reporter.live("peak of the machine"):
        peak = machine_peak(machine, measure_peak)
    if plot is not None:
        from lwc.profile.plot import roofline

        save_file(
            plot, "--plot", lambda file: roofline(profile, peak, f"{package.name}, {machine}", file, form)
        )
    if as_json:
        emit_json(profile_document(profile, peak, machine, package))
    else:
        emit(profile_text(profile, peak, machine, package))
