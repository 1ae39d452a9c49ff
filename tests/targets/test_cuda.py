"""The GPUs that `--target cuda:...` names."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from lwc.errors import LwcError, ResourceError, UsageError
from lwc.targets import cuda
from lwc.targets.gpu import Gpu
from lwc.targets.resolve import resolve_target
from lwc.targets.target import Target

# A driver with one GPU of capability 8.6; SILENT has none.
DRIVER = """
int cuInit(unsigned flags) { return (int)flags; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return SILENT ? 100 : 0; }
int cuDeviceGetAttribute(int *value, int which, int device)
{ *value = which == 75 ? 8 : which == 76 ? 6 : -1; return device; }
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
    with pytest.raises(ValueError, match="its gpu is"):
        Target("x", "x", "x86_64-linux-gnu", "x86-64", gpu=Gpu(architecture, 1))


def test_cuda_without_a_driver_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(ResourceError, match=r"no NVIDIA driver .*as in cuda:sm_80"):
        resolve_target("cuda")


@pytest.mark.parametrize("silent", [False, True])
def test_cuda_is_the_gpu_at_hand(silent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "driver.c").write_text(DRIVER)
    command = [compiler, f"-DSILENT={int(silent)}", "-shared", "-fPIC", "driver.c", "-o", "driver.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    driver = ctypes.CDLL(str(tmp_path / "driver.so"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    if not silent:
        assert resolve_target("cuda") == resolve_target("cuda:sm_86")
        return
    with pytest.raises(LwcError, match="finds no GPU"):
        resolve_target("cuda")
