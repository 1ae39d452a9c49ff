"""A test of the tests: each defect that is planted into a copy of lwc makes the test named beside it fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.passes.planted_defects import DEFECTS, Defect

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# Exit codes of pytest; a test that cannot be found or collected gives another one.
PASSED, FAILED = 0, 1


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """lwc in the layout in which it installs, and its tests beside it."""
    folders = {"lwc": "lwc", "passes": "lwc/passes", "targets": "lwc/targets", "tests": "tests"}
    for source, place in folders.items():
        # Bytecode tells a change by time and size, which a defect may leave as they were.
        shutil.copytree(ROOT / source, tmp_path / place, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plant(defect: Defect, folder: Path) -> None:
    """Put the defect into the copy in `folder`."""
    path = folder / defect.file
    text = path.read_text()
    found = text.count(defect.old)
    assert found == 1, (
        f"{defect.old!r} occurs {found} times in {defect.file}, not once: write the defect anew"
    )
    path.write_text(text.replace(defect.old, defect.new))


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder`, whose lwc goes before any that is installed."""
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def run_tests(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run `tests` on the copy in `folder`, up to the first failure."""
    return python(folder, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests)


def test_the_copy_is_what_runs(installed: Path) -> None:
    code = """
        import lwc.graph, lwc.passes.fold_padding, lwc.targets.target
        print(lwc.graph.__file__, lwc.passes.fold_padding.__file__, lwc.targets.target.__file__, sep="\\n")
    """
    done = python(installed, "-c", dedent(code))
    files = [
        str(installed / "lwc" / name) for name in ("graph.py", "passes/fold_padding.py", "targets/target.py")
    ]
    assert done.stdout.splitlines() == files, done.stderr


def test_without_a_defect_the_tests_pass(installed: Path) -> None:
    done = run_tests(installed, *sorted({defect.test for defect in DEFECTS.values()}))
    assert done.returncode == PASSED, done.stdout + done.stderr


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_caught(name: str, installed: Path) -> None:
    defect = DEFECTS[name]
    plant(defect, installed)
    done = run_tests(installed, defect.test)
    assert done.returncode == FAILED, f"{defect.test} does not catch that {name}:\n{done.stdout}{done.stderr}"
