"""The machine that was measured on."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lwc.package.load import MAX_THREADS
from lwc.targets.native import native_target


@dataclass(frozen=True)
class Machine:
    """Its processor as the system names it, what lwc compiles for there, its cores, the threads used, and the day."""

    processor: str
    target: str
    cores: int
    threads: int
    date: str

    def __str__(self) -> str:
        return (
            f"{self.threads} threads on {self.cores} cores of {self.processor} ({self.target}), {self.date}"
        )


def this_machine(threads: int) -> Machine:
    """What runs this process; as many threads as cores where `threads` is 0."""
    cores = len(os.sched_getaffinity(0))
    target = native_target().description.removeprefix("this machine: ").partition(",")[0]
    return Machine(
        processor(), target, cores, threads or min(cores, MAX_THREADS), datetime.now(UTC).date().isoformat()
    )


def processor() -> str:
    """This machine's processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "an unknown processor"
    # Only x86 has the first; Arm's number their parts.
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return fields.get("model name") or f"CPU part {fields.get('CPU part', 'unknown')}"
