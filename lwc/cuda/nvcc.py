"""CUDA C to PTX and machine code by NVIDIA's `nvcc` and `ptxas`."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lwc.cuda.binary import Binary, first_error
from lwc.errors import ResourceError, UnsupportedError

_TIMEOUT = 900  # seconds


@dataclass(frozen=True)
class Nvcc:
    """The compiler at `path`, of the CUDA release `toolkit`."""

    path: str
    toolkit: tuple[int, int]

    @property
    def name(self) -> str:
        """As the manifest names it."""
        return "nvcc"

    def compile(self, source: str, architecture: str) -> Binary:
        """`source` for GPUs of `architecture` ("sm_80"). Raises UnsupportedError where the compiler refuses it."""
        number = architecture.removeprefix("sm_")
        with tempfile.TemporaryDirectory(prefix="lwc-cuda-") as scratch:
            folder = Path(scratch)
            (folder / "kernels.cu").write_text(source)
            flags = [f"-arch=compute_{number}", "-std=c++17", "-ptx", "kernels.cu", "-o", "kernels.ptx"]
            _run([self.path, *flags], folder, architecture)
            assembler = shutil.which("ptxas") or str(Path(self.path).with_name("ptxas"))
            _run(
                [assembler, f"-arch={architecture}", "kernels.ptx", "-o", "kernels.cubin"],
                folder,
                architecture,
            )
            return Binary((folder / "kernels.cubin").read_bytes(), (folder / "kernels.ptx").read_bytes())


def find_nvcc() -> Nvcc | None:
    """The `nvcc` on the path; None where there is none that tells its release."""
    path = shutil.which("nvcc")
    if path is None:
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    release = re.search(r"release (\d+)\.(\d+)", done.stdout)
    return None if release is None else Nvcc(path, (int(release[1]), int(release[2])))


def _run(command: list[str], folder: Path, architecture: str) -> None:
    tool = Path(command[0]).name
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise ResourceError(
            f"{tool}: did not end within {_TIMEOUT} s; try a machine with more memory"
        ) from None
    except OSError as error:
        raise ResourceError(
            f"{command[0]}: cannot be run ({error.strerror}); install CUDA's compiler anew"
        ) from None
    if done.returncode != 0:
        said = first_error(done.stderr or done.stdout) or f"exit code {done.returncode}"
        raise UnsupportedError(f"{tool} for {architecture}: {said}; please report the model")
