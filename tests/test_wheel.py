"""What is installed from a wheel is what is tested here: every module, template and C file, and a working command."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Folder of the repository -> where it installs.
PACKAGES = {"lwc": "lwc", "passes": "lwc/passes", "targets": "lwc/targets"}
SUFFIXES = {".py", ".c", ".h", ".j2", ".typed"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the checkout, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy: setuptools builds beside the sources, and would take what an earlier build left there.
    hidden = shutil.ignore_patterns(".*", "build", "tests", "*.egg-info", "__pycache__")
    source = shutil.copytree(ROOT, folder / "source", ignore=hidden)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = folder.glob("lwc-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_holds_every_source_file(unpacked: Path) -> None:
    expected = {
        f"{installed}/{path.relative_to(ROOT / folder)}"
        for folder, installed in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SUFFIXES
    }
    present = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*")}
    assert len(expected) > 100
    assert expected <= present


def test_the_command_works_from_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}

    def output(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=120
        ).stdout

    assert output("-c", "import lwc; print(lwc.__file__)").startswith(str(unpacked))
    assert "fold-batch-norm" in output("-m", "lwc", "passes")
    assert "cortex-a76" in output("-m", "lwc", "targets")
