"""A library for a GPU as packages have it: linked for old systems, run by `lwc-run` and from Python."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lwc.package.link import link_library
from lwc.package.toolchain import find_toolchain
from lwc.targets.cuda import cuda_target
from tests.runtime.cuda_affine import BIAS, N, compile_library, compile_stand_in, device_code

pytestmark = pytest.mark.slow

FROM_PYTHON = """
import ctypes, sys
import numpy as np
from lwc.errors import LwcError
from lwc.package.load import Model
try:
    model = Model(ctypes.CDLL(sys.argv[1]), "affine", 0)
    z, w = model(np.fromfile(sys.argv[2], np.float32), np.fromfile(sys.argv[3], np.uint8))
except LwcError as error:
    sys.exit(f"{error.exit_code} {error}")
sys.stdout.buffer.write(z.tobytes() + w.tobytes())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    toolchain = find_toolchain(cuda_target("sm_80", platform.machine()))
    link_library(toolchain, folder, "affine", compile_library(toolchain, folder, device_code()))
    compile_stand_in(toolchain, folder)
    return folder


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    kernels = {"LWC_EMULATED_KERNELS": str(folder / "kernels.so")}
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), **kernels}


@pytest.fixture
def inputs(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """x and m, which lie in files, too."""
    seed = 5
    print(f"seed {seed}")
    rng = torch.Generator().manual_seed(seed)
    x, m = torch.randn(N, generator=rng), torch.randint(0, 256, (N,), generator=rng, dtype=torch.uint8)
    x.numpy().tofile(folder / "x")
    m.numpy().tofile(folder / "m")
    return x, m


def check(z: np.ndarray, w: np.ndarray, inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, m = inputs
    bias = torch.from_numpy(BIAS)
    right = (-2 * (x.double() + bias.double())).numpy()

    def error(result: np.ndarray) -> float:
        return float(np.sqrt(np.mean((result - right) ** 2)))

    assert error(z) <= 2 * error((-2 * (x + bias)).numpy()) + 1e-6
    assert np.array_equal(w, (m + 1).numpy())


def lwc_run(folder: Path, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = ["./lwc-run", "--input", "x", "--input", "m", "--output", "z", "--output", "w", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_lwc_run_gives_what_pytorch_gives(
    folder: Path, environment: dict[str, str], inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    done = lwc_run(folder, environment, "--repeat", "3", "--profile", "--threads", "2")
    assert done.returncode == 0, done.stderr
    check(np.fromfile(folder / "z", np.float32), np.fromfile(folder / "w", np.uint8), inputs)
    whole, calls = map(json.loads, done.stdout.splitlines())
    assert whole["repeat"] == 3
    assert len(calls["calls_ns"]) == 3


def test_python_gives_what_pytorch_gives(
    folder: Path, environment: dict[str, str], inputs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    command = [sys.executable, "-c", FROM_PYTHON, str(folder / "libaffine.so"), "x", "m"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    check(
        np.frombuffer(done.stdout[: 4 * N], np.float32), np.frombuffer(done.stdout[4 * N :], np.uint8), inputs
    )


@pytest.mark.usefixtures("inputs")
def test_without_a_gpu_both_say_so(folder: Path, environment: dict[str, str]) -> None:
    without = {**environment, "LWC_EMULATOR_DEVICES": "0"}
    done = lwc_run(folder, without)
    assert done.returncode == 6
    assert "lwc-run: open: the NVIDIA driver finds no GPU" in done.stderr
    command = [sys.executable, "-c", FROM_PYTHON, str(folder / "libaffine.so"), "x", "m"]
    python = subprocess.run(command, cwd=folder, env=without, capture_output=True, text=True, timeout=120)
    assert python.stderr.startswith("6 affine: open: the NVIDIA driver finds no GPU")


def test_the_library_needs_the_c_library_alone_and_exports_the_documented_functions(folder: Path) -> None:
    library = (folder / "libaffine.so").read_bytes()
    versions = {tuple(map(int, found)) for found in re.findall(rb"GLIBC_(\d+)\.(\d+)", library)}
    assert max(versions) <= (2, 28)
    header = (folder / "affine.h").read_text()
    documented = set(re.findall(r"AFFINE_API .*?\b(affine_\w+)\(", header))
    command = ["nm", "-D", "--defined-only", str(folder / "libaffine.so")]
    exported = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[2::3]
    assert set(exported) == documented
    needed = subprocess.run(
        ["readelf", "-d", folder / "libaffine.so"], capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"NEEDED.*\[(lib\w+)", needed.stdout)) <= {"libc", "libdl", "libpthread"}
