"""The GPUs that `--target cuda:...` names."""

import ctypes
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lwc.errors import ResourceError, UnsupportedError, UsageError
from lwc.package.execute import find_runner
from lwc.targets import cuda
from lwc.targets.gpu import Gpu
from lwc.targets.resolve import resolve_target
from lwc.targets.target import Target

# A driver with one GPU; of capability 0 there is none.
DRIVER = """
int cuInit(unsigned flags) { return (int)flags; }
int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return CAPABILITY ? 0 : 100; }
int cuDeviceGetAttribute(int *value, int which, int device)
{ *value = which == 75 ? CAPABILITY / 10 : which == 76 ? CAPABILITY % 10 : -1; return device; }
"""


@pytest.mark.parametrize("name", cuda.NAMES)
def test_a_name_is_a_gpu_and_the_processor_beside_it(name: str) -> None:
    target = resolve_target(name)
    assert target.gpu is not None
    assert (target.name, f"cuda:{target.gpu.architecture}") == (name, name)
    assert target.architecture == ("aarch64" if name == "cuda:sm_87" else "x86_64")
    assert target.cpu_features == ()


def test_the_processor_beside_it_can_be_another_one() -> None:
    target = resolve_target("cuda:sm_90,host=aarch64")
    assert (target.name, target.triple) == ("cuda:sm_90,host=aarch64", "aarch64-linux-gnu")
    assert resolve_target("cuda:sm_87,host=aarch64") == resolve_target("cuda:sm_87")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cuda:sm_70", "choose from cuda:sm_75, cuda:sm_80"),
        ("cuda:", "choose from"),
        ("cuda:sm_80,host=mips", "host 'mips' is unknown; choose from x86_64, aarch64"),
        ("cuda:sm_80,cpu=generic", "unknown"),
    ],
)
def test_what_is_no_gpu_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"^target '"):
        resolve_target(text)
    with pytest.raises(UsageError) as raised:
        resolve_target(text)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("code_for", "runs_on"),
    [("sm_80", ["sm_80", "sm_86", "sm_90", "sm_120"]), ("sm_90", ["sm_90", "sm_100"]), ("sm_75", ["sm_75"])],
)
def test_code_runs_on_its_gpu_and_on_later_ones(code_for: str, runs_on: list[str]) -> None:
    gpu = Gpu(code_for, 1)
    assert all(gpu.runs_on(architecture) for architecture in runs_on)
    assert not gpu.runs_on("sm_70")


@pytest.mark.parametrize("architecture", ["", "80", "sm_", "sm_8", "sm_80;rm", "sm_8000"])
def test_a_gpu_without_a_name_is_refused(architecture: str) -> None:
    with pytest.raises(ValueError, match="its gpu's architecture is"):
        Target("x", "x", "x86_64-linux-gnu", "x86-64", gpu=Gpu(architecture, 1))


@pytest.mark.parametrize(
    "wrong",
    [{"multiprocessors": 0}, {"shared_bytes": -1}, {"warp": 16}, {"block_threads": 0}, {"numbers": "int4"}],
)
def test_what_no_gpu_can_have_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"its gpu's {next(iter(wrong))} is"):
        Target("x", "x", "x86_64-linux-gnu", "x86-64", gpu=replace(Gpu("sm_80", 1), **wrong))


def test_cuda_without_a_driver_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(ResourceError, match=r"no NVIDIA driver .*as in cuda:sm_80"):
        resolve_target("cuda")


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Puts a driver in place whose GPU has that capability."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    load = ctypes.CDLL

    def place(capability: int) -> None:
        (tmp_path / "driver.c").write_text(DRIVER)
        options = [
            f"-DCAPABILITY={capability}",
            "-shared",
            "-fPIC",
            "driver.c",
            "-o",
            f"driver{capability}.so",
        ]
        subprocess.run([compiler, *options], cwd=tmp_path, check=True)
        library = load(str(tmp_path / f"driver{capability}.so"))
        monkeypatch.setattr(ctypes, "CDLL", lambda name: library)

    return place


@pytest.mark.parametrize(
    ("capability", "name"), [(75, "sm_75"), (86, "sm_86"), (90, "sm_90"), (120, "sm_90")]
)
def test_cuda_is_the_newest_that_the_gpu_at_hand_runs(
    capability: int, name: str, driver: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(capability)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert resolve_target("cuda") == resolve_target(f"cuda:{name}")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert resolve_target("cuda") == resolve_target("cuda,host=aarch64")
    assert resolve_target("cuda").architecture == "aarch64"


def test_a_gpu_that_is_too_old_or_absent_is_named(driver: Callable[[int], None]) -> None:
    driver(70)
    with pytest.raises(UnsupportedError, match="is of sm_70; lwc compiles for cuda:sm_75 and later"):
        resolve_target("cuda")
    driver(0)
    with pytest.raises(ResourceError, match="finds no GPU"):
        resolve_target("cuda")


def test_a_package_runs_on_the_gpu_at_hand_where_all_of_it_fits(driver: Callable[[int], None]) -> None:
    """Else its kernels are emulated."""
    driver(86)
    here = "x86_64" if platform.machine() == "x86_64" else "aarch64"
    there = {"x86_64": "aarch64", "aarch64": "x86_64"}[here]
    assert find_runner(resolve_target(f"cuda:sm_80,host={here}"), (12, 9)).how == "cuda"
    for target, toolkit, why in [
        (f"cuda:sm_90,host={here}", (12, 9), "is of sm_86"),
        (f"cuda:sm_80,host={here}", (13, 0), "is for CUDA 12, the package needs CUDA 13"),
        (
            f"cuda:sm_80,host={there}",
            (12, 9),
            f"no {there} processor beside its GPU|qemu-{there} is not installed",
        ),
    ]:
        with pytest.raises(ResourceError, match=why):
            find_runner(resolve_target(target), toolkit)
