"""docs/add_a_pass.md: its snippets run, in order, and print what it says."""

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lwc.cli.main import run

TEXT = (Path(__file__).parents[1] / "docs" / "add_a_pass.md").read_text()
# Language and content of each block of code.
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The reader's folder, with the files that the page shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for language, code in BLOCKS:
        if language == "python" and (name := FILE.match(code)):
            (tmp_path / name[1]).write_text(code)
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.mark.usefixtures("folder")
def test_the_snippets_print_what_the_page_says() -> None:
    namespace: dict[str, Any] = {"__name__": "page"}
    printed = ""
    compared = 0
    for language, code in BLOCKS:
        if language == "python" and not FILE.match(code):
            printed = executed(code, namespace)
        elif language == "text":
            assert [line.rstrip() for line in code.splitlines()] == printed.splitlines()
            compared += 1
    assert compared == 3


def executed(code: str, namespace: dict[str, Any]) -> str:
    """What `code` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, namespace)
    return out.getvalue().strip("\n")


def test_the_tests_that_it_shows_pass(folder: Path) -> None:
    content: dict[str, Any] = {}
    exec((folder / "test_merge_scalings.py").read_text(), content)
    tests = [test for name, test in content.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


@pytest.mark.usefixtures("folder")
def test_the_command_lines_print_what_the_page_says(capfd: pytest.CaptureFixture[str]) -> None:
    lines = re.findall(r"^\$ lwc ([^\n]*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert lines
    for line, want in lines:
        capfd.readouterr()
        assert run(shlex.split(line)) == 0
        assert without_positions(capfd.readouterr().out) == without_positions(want)


def without_positions(table: str) -> str:
    """Without the numbers in the first column, which a pass more in the pipeline changes."""
    return re.sub(r"^ +\d+", "", table, flags=re.MULTILINE)


def test_it_names_what_there_is() -> None:
    root = Path(__file__).parents[1]
    for name in re.findall(r"`(examples/[\w/-]+)`", TEXT):
        assert (root / name).exists()
