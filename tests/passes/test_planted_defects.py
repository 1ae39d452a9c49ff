"""A test of the tests: each defect that is planted into a copy of lwc makes the test named beside it fail."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
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


@dataclass(frozen=True)
class Done:
    """How a run of pytest ended: its exit code, and what it wrote."""

    code: int
    text: str


# Runs tests of the copy in a folder, up to the first failure.
RunTests = Callable[..., Done]


@pytest.fixture(scope="module")
def run_tests() -> Iterator[RunTests]:
    """In forks of one process: loading PyTorch takes longer than a test."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    program = [sys.executable, str(ROOT / "tests/passes/forked_pytest.py")]
    with Popen(program, env=environment, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True) as server:
        questions, answers = server.stdin, server.stdout
        assert questions is not None
        assert answers is not None

        def call(folder: Path, *tests: str) -> Done:
            words = [str(folder), "-q", "-x", "-p", "no:cacheprovider", *tests]
            print(json.dumps(words), file=questions, flush=True)
            return Done(int(answers.readline()), (folder / "pytest.log").read_text())

        yield call
        questions.close()


def test_the_copy_is_what_runs(installed: Path, run_tests: RunTests) -> None:
    code = """
        import lwc.graph, lwc.passes.fold_padding, lwc.targets.target

        def test_files():
            for module in (lwc.graph, lwc.passes.fold_padding, lwc.targets.target):
                print(module.__file__)
    """
    (installed / "tests/test_files.py").write_text(dedent(code))
    done = run_tests(installed, "-s", "tests/test_files.py")
    for name in ("graph.py", "passes/fold_padding.py", "targets/target.py"):
        assert str(installed / "lwc" / name) in done.text


def test_without_a_defect_the_tests_pass(installed: Path, run_tests: RunTests) -> None:
    done = run_tests(installed, *sorted({defect.test for defect in DEFECTS.values()}))
    assert done.code == PASSED, done.text


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_caught(name: str, installed: Path, run_tests: RunTests) -> None:
    defect = DEFECTS[name]
    plant(defect, installed)
    done = run_tests(installed, defect.test)
    assert done.code == FAILED, f"{defect.test} does not catch that {name}:\n{done.text}"
