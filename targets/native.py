"""The machine that lwc runs on, as a Target."""

import os
import platform
from dataclasses import replace
from pathlib import Path

from lwc.errors import UnsupportedError
from lwc.targets import arm64, cortex_a76, x86_64_v3, x86_64_v4, x86_64_v4_vnni
from lwc.targets.target import Target

# The best first; a machine gets the first whose features it has all of.
_LEVELS = {
    "x86_64": (x86_64_v4_vnni.TARGET, x86_64_v4.TARGET, x86_64_v3.TARGET),
    "aarch64": (
        replace(cortex_a76.TARGET, name="arm64 with dot product", cpu="generic"),
        arm64.TARGET,
    ),
}


def cpu_features() -> frozenset[str]:
    """What the processor can do, by Linux's names; empty where /proc/cpuinfo cannot be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def native_target() -> Target:
    """This machine: the best level that it has all features of, with its own cores and caches.

    Raises UnsupportedError on a machine below x86-64-v3 or ARMv8.0, or without Linux.
    """
    machine = platform.machine().replace("arm64", "aarch64")
    if platform.system() != "Linux" or machine not in _LEVELS:
        raise UnsupportedError(
            f"target 'native': {platform.system()} on {machine} is not supported; "
            "name a target (see `lwc targets`)"
        )
    features = cpu_features()
    for level in _LEVELS[machine]:
        if set(level.cpu_features) <= features:
            return replace(
                level,
                name="native",
                description=f"this machine: {level.name}, {_cores()} cores",
                cores=_cores(),
                l1_bytes=_cache_bytes(1) or level.l1_bytes,
                l2_bytes=_cache_bytes(2) or level.l2_bytes,
            )
    needed = " and ".join(name for name in ("avx2", "fma", "asimd") if name in level.cpu_features)
    raise UnsupportedError(
        f"target 'native': /proc/cpuinfo does not show {needed}; name a target (see `lwc targets`)"
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _cache_bytes(level: int) -> int | None:
    """The size of the first core's data cache at `level`, from sysfs; None where it is not told."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if int((index / "level").read_text()) != level:
                continue
            if (index / "type").read_text().strip() == "Instruction":
                continue
            text = (index / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        if text.endswith("K") and text[:-1].isdigit():
            return int(text[:-1]) * 1024
    return None
