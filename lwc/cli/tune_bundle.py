"""`lwc tune bundle`: an archive of trials, to be run by hand on a device that no network reaches."""

import os
import sys
from collections import Counter
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

import click

from lwc.cli.int8_options import int8_options
from lwc.cli.model_options import model_options, pass_options
from lwc.cli.options import NewPath, json_option, target_option, threads_option
from lwc.cli.output import emit, emit_json, printable
from lwc.cli.save import check_place, save_file
from lwc.cli.tune_request import tuning_request
from lwc.cli.units import short_bytes
from lwc.models.request import ModelRequest
from lwc.targets.resolve import resolve_target

_TRIALS = 12


@click.command(
    epilog="\b\nExample:\n  lwc tune bundle mobilenet_v2 --target cortex-a76 -o trials.tar\n"
    "  tar xf trials.tar && lwc-tune/run.sh           # on the device\n"
    "  lwc tune import results.json                   # here again"
)
@model_options
@target_option
@pass_options
@int8_options
@click.option(
    "--trials",
    type=click.IntRange(1, 1000),
    default=_TRIALS,
    show_default=True,
    metavar="N",
    help="Further choices to try of each kernel; those that are known already are left out.",
)
@threads_option
@click.option(
    "-o", "--output", type=NewPath(), required=True, metavar="FILE", help="The archive, a tar file."
)
@json_option
def bundle(
    request: ModelRequest,
    target: str,
    passes: dict[str, Any],
    precision: str | None,
    calibrate: str | None,
    observer: str | None,
    trials: int,
    threads: int,
    output: Path,
    as_json: bool,
) -> None:
    """Write an archive of trials for MODEL's kernels: programs, inputs, expected outputs, and what runs them.

    `run.sh` in it needs a shell and nothing else, and writes results.json, which `lwc tune import` takes over. What it
    knows then, the next bundle goes on from.
    """
    check_place(output)
    with redirect_stdout(sys.stderr):
        resolve_target(target)
    from lwc.cli.progress import PlainConsole, StageReporter

    reporter = StageReporter(PlainConsole())
    with reporter.live("start"):
        from lwc.bundling import bundle_trials
        from lwc.tune.store import default_path, open_for_reading

        asked = tuning_request(request, target, passes, threads, (precision, calibrate, observer))
    with redirect_stdout(sys.stderr), ExitStack() as stack:
        path = default_path()
        store = stack.enter_context(open_for_reading(path)) if os.path.exists(path) else None
        found = []
        save_file(
            output,
            "--output",
            lambda file: found.append(bundle_trials(asked, trials, store, file, reporter)),
        )
    (bundled,) = found
    size = output.stat().st_size
    if as_json:
        emit_json({"archive": str(output), "bytes": size, **vars(bundled)})
        return
    emit(
        f"{printable(str(output))}: {bundled.choices} choices in {bundled.programs} programs, {short_bytes(size)}"
    )
    for reason, count in Counter(bundled.failures).items():
        emit(f"{count} choices could not be built: {printable(reason)}")
    emit("next: unpack it on the device, run lwc-tune/run.sh there, and `lwc tune import` its results.json")
