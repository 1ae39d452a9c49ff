"""Running a package on arrays, wherever that can be done here: natively, on a GPU, or under emulation."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lwc.errors import BadInputError, ResourceError
from lwc.files import read_regular
from lwc.package.emulated import emulate
from lwc.package.execute import Runner, find_runner, run_program, without_c_library
from lwc.package.manifest import DEVICE_SOURCE, PROGRAM_NAME, Manifest, open_package
from lwc.package.steps import Elements
from lwc.package.toolchain import find_toolchain


def run_package(package: Path, inputs: Sequence[Elements], threads: int = 0) -> tuple[Elements, ...]:
    """The package's outputs for `inputs` (of the manifest's types and shapes).

    Raises BadInputError for a malformed package or input, VerificationError for a changed file,
    ResourceError where this machine cannot run the package.
    """
    manifest = open_package(package)
    with package_runner(package, manifest) as runner:
        return run_program(runner, package / PROGRAM_NAME, manifest, inputs, threads)


@contextmanager
def package_runner(package: Path, manifest: Manifest) -> Iterator[Runner]:
    """How to run the package's own program; a GPU that is not here is emulated, from the package's CUDA C.

    Raises ResourceError, saying what to install, where it cannot run, BadInputError where that source is not one.
    """
    try:
        runner = find_package_runner(package, manifest)
    except ResourceError:
        if manifest.target.gpu is None:
            raise
    else:
        yield runner
        return
    if DEVICE_SOURCE not in manifest.files:
        raise ResourceError(f"{package}: has no {DEVICE_SOURCE} to run without a GPU; run it where one is")
    source = _device_source(package / DEVICE_SOURCE)
    with tempfile.TemporaryDirectory(prefix="lwc-emulated-") as folder:
        yield emulate(source, manifest.target, find_toolchain(manifest.target), Path(folder))


def _device_source(path: Path) -> str:
    try:
        return read_regular(path).decode()
    except UnicodeDecodeError:
        raise BadInputError(f"{path}: is not text; compile the package again") from None


def _toolkit(manifest: Manifest) -> tuple[int, int]:
    """The CUDA release that compiled the package; (0, 0) where it has no kernels of a GPU, or does not say."""
    stated = manifest.tools.get("nvcc", manifest.tools.get("nvrtc", ""))
    found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", stated)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def find_package_runner(package: Path, manifest: Manifest) -> Runner:
    """How to run the package's own program. Raises ResourceError, saying what to install, where it cannot run."""
    runner = find_runner(manifest.target, _toolkit(manifest))
    if runner.how == "qemu-static":
        raise without_c_library(str(package), manifest.target)
    return runner
