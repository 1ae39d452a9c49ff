"""Trials that are built with the tools of another machine."""

from dataclasses import replace
from pathlib import Path

from lwc.tune.tasks import Task
from lwc.tune.trials import Trials
from tests.tune.layers import TARGET, TOOLCHAIN

# What the command line of a process that builds holds.
BUILDS = "lwc.tune.worker"
# The files of a program for `trials_of`.
PROGRAM = ("lwc-run", "libtrial.so", "input_0_0")
SOUND = {"rows": 7, "vectors": 1, "groups": 24, "step": 1}
_NO_RUNTIME = Path("no", "such", "folder")


def trials_of(task: Task, seed: int) -> Trials:
    """The planned kernel and a sound choice, with no tools of this machine."""
    elsewhere = replace(TOOLCHAIN, command=("no-such-compiler",))
    return Trials(task.call, TARGET, elsewhere, (SOUND,), seed, _NO_RUNTIME)
