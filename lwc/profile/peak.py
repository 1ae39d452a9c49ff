"""The machine's measured peak: peak.c, compiled for this processor; the figures are kept for the next time."""

import hashlib
import json
import math
import os
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from importlib.resources import as_file, files
from pathlib import Path

import platformdirs

from lwc.bench.machine import Machine
from lwc.errors import ResourceError
from lwc.package.toolchain import find_toolchain
from lwc.targets.native import native_target

_TIMEOUT = 120  # seconds; the program takes two or three
_ARCHITECTURE = {"x86_64": "-march=native", "aarch64": "-mcpu=native"}


@dataclass(frozen=True)
class Peak:
    """Operations a second (a multiply-add is two) and bytes a second read from memory, of all threads.

    flops: of float32; int8_ops: of 8-bit integers, with the instructions that lwc's kernels use.
    """

    flops: float
    int8_ops: float
    bytes: float


def machine_peak(machine: Machine, again: bool = False) -> Peak:
    """The peak of `machine`, this one, with its threads; from an earlier measurement unless `again`.

    Raises ResourceError where it cannot be measured.
    """
    known = None if again else known_peak(machine)
    if known is not None:
        return known
    path = _cache_path(machine)
    peak = _measure(machine.threads)
    # Where it cannot be kept, it is measured again.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may read it meanwhile.
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(asdict(peak)))
        temporary.replace(path)
    return peak


def known_peak(machine: Machine) -> Peak | None:
    """The peak of `machine` from an earlier measurement; None where there is none."""
    return _read(_cache_path(machine))


def _cache_path(machine: Machine) -> Path:
    program = files("lwc.profile").joinpath("peak.c").read_bytes()
    what = f"{machine.processor} {machine.target} {machine.cores} {machine.threads}".encode()
    key = hashlib.sha256(what + program).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("lwc")) / f"peak-{key}.json"


def _read(path: Path) -> Peak | None:
    """What an earlier measurement left; None where there is nothing usable."""
    try:
        peak = Peak(**json.loads(path.read_text()))
        usable = all(math.isfinite(value) and value > 0 for value in astuple(peak))
    except (OSError, ValueError, TypeError):
        return None
    return peak if usable else None


def _measure(threads: int) -> Peak:
    target = native_target()
    with tempfile.TemporaryDirectory(prefix="lwc-peak-") as name, as_file(files("lwc.profile")) as own:
        folder = Path(name)
        options = [
            "-std=c11",
            "-O3",
            _ARCHITECTURE[target.architecture],
            "-ffp-contract=fast",
            "-fno-sanitize=all",
        ]
        find_toolchain(target).run([*options, "-o", "peak", str(own / "peak.c"), "-lpthread"], folder)
        try:
            done = subprocess.run(
                [folder / "peak", str(threads)], capture_output=True, text=True, timeout=_TIMEOUT, check=True
            )
            return Peak(**json.loads(done.stdout))
        except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
            raise ResourceError(
                f"the machine's peak cannot be measured ({error}); is /tmp mounted noexec?"
            ) from None
