"""A worker like the tuner's own, in which some choices of a matrix product are planted with faults.

The number of `groups` says which: see FAULTS_BY_GROUPS. The tuner starts it as `planted_worker.py SOCKET MEMORY`.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lwc.targets.kernels.search_space import Choice, with_choice
from lwc.targets.target import Target
from lwc.tune import build, worker
from lwc.tune.trials import Built, Trials

FAULTS_BY_GROUPS = {
    1: "raises",
    2: "dies",
    3: "hangs",
    4: "takes 64 GB",
    6: "wrong and fast",
    8: "crashes",
    12: "runs for ever",
    16: "prints nonsense",
}
_PROGRAMS = {
    "crashes": "kill -SEGV $$",
    "runs for ever": "while :; do :; done",
    "prints nonsense": "echo not times",
}


def fault_of(choice: Choice) -> str | None:
    """What is planted for `choice`; None for most numbers of groups."""
    return FAULTS_BY_GROUPS.get(choice["groups"])


def planted_choice(kernel: Any, choice: Choice, target: Target) -> Any | None:
    """`with_choice`, but for those that fail while they are built, or compute less than they should."""
    made: Any = with_choice(kernel, choice, target)
    fault = fault_of(choice)
    if fault == "raises":
        raise RuntimeError("a planted\nerror")
    if fault == "dies":
        os.abort()
    if fault == "hangs":
        time.sleep(3600)
    if fault == "takes 64 GB":
        bytearray(max(64 << 30, 2 * int(sys.argv[2])))
    if fault == "wrong and fast":
        # A quarter of the sum.
        return replace(made, inner=made.inner // 4)
    return made


def planted_build(trials: Trials, folder: Path) -> Built:
    """`build_trials`, but for those whose program does not do what it should."""
    built = _build_trials(trials, folder)
    for choice in trials.choices:
        if (fault := fault_of(choice)) in _PROGRAMS:
            program = folder / "lwc-run"
            program.unlink()
            program.write_text(f"#!/bin/sh\n{_PROGRAMS[fault]}\n")
            program.chmod(0o755)
    return built


_build_trials = build.build_trials

if __name__ == "__main__":
    with (
        patch("lwc.tune.build.with_choice", planted_choice),
        patch("lwc.tune.worker.build_trials", planted_build),
    ):
        worker.main(int(sys.argv[1]), int(sys.argv[2]))
