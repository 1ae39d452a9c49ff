"""The C compiler and linker for a target: ziglang from pip, or the system's."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from lwc.errors import ResourceError
from lwc.targets.target import Target

_TIMEOUT = 600  # seconds; zig builds the C library's stubs at its first use


@dataclass(frozen=True)
class Toolchain:
    """A C compiler driver: `command` compiles for its target, `name` and `version` go into the manifest."""

    name: str
    version: str
    command: tuple[str, ...]

    def run(self, arguments: Sequence[str], folder: Path) -> None:
        """Run the compiler in `folder`. Raises ResourceError with its first complaint where it fails."""
        command = [*self.command, *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=_environment(folder),
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ResourceError(f"{self.name}: cannot be run ({error}); install a C compiler") from error
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            reason = lines[0].strip()[:300] if lines else f"exit code {done.returncode}"
            raise ResourceError(f"{self.name}: compiling the package failed ({reason}); is the disk full?")


def find_toolchain(target: Target) -> Toolchain:
    """The tool chain that links for `target` with its glibc floor; the system's, without a floor, as a fallback.

    Raises ResourceError where there is neither.
    """
    if find_spec("ziglang") is not None:
        return _zig(f"{target.architecture}-linux-gnu.{target.glibc}")
    native = target.architecture == platform.machine()
    names = ("cc", "gcc", "clang") if native else (f"{target.architecture}-linux-gnu-gcc",)
    for name in names:
        if path := shutil.which(name):
            return Toolchain(name, _version(path), (path,))
    raise ResourceError(f"no C compiler for {target.triple}: `pip install ziglang`, or install {names[0]}")


def find_static_toolchain(target: Target) -> Toolchain | None:
    """A tool chain for static programs, which run under emulation without the target's C library; None without."""
    return _zig(f"{target.architecture}-linux-musl") if find_spec("ziglang") is not None else None


def _zig(triple: str) -> Toolchain:
    command = (sys.executable, "-m", "ziglang")
    return Toolchain("ziglang", _version(*command, option="version"), (*command, "cc", "-target", triple))


def _version(*command: str, option: str = "--version") -> str:
    done = subprocess.run([*command, option], capture_output=True, text=True, timeout=60)
    return (done.stdout.splitlines() or ["unknown"])[0].strip()


def _environment(folder: Path) -> dict[str, str]:
    """zig keeps the C library for the next compilation, and what it compiled in `folder`, to go with it."""
    cache = Path(platformdirs.user_cache_dir("lwc")) / "zig"
    return {
        "ZIG_GLOBAL_CACHE_DIR": str(cache),
        **os.environ,
        "ZIG_LOCAL_CACHE_DIR": str(folder / "zig-cache"),
    }
