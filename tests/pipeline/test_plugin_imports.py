"""Files that are no plug-in: BadInputError."""

import sys
from pathlib import Path

import pytest

from lwc.errors import BadInputError
from lwc.pipeline import Pipeline
from tests.pipeline.plugins import Write, line_of


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.py", tmp_path / "no" / "folder.py", tmp_path / "two\nlines.py"):
        line = line_of(BadInputError, lambda path=path: Pipeline(()).with_pass(f"{path}:MyPass"))  # type: ignore[misc]
        assert line.endswith(".py: no such file; write --pass FILE.py:Class")


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(f"{tmp_path / 'folder.py'}:MyPass"))
    assert line == f"{tmp_path / 'folder.py'}: no such file; write --pass FILE.py:Class"


@pytest.mark.parametrize("file", ["my_pass", "my_pass.txt", "my_pass.so"])
def test_not_a_python_file(write: Write, file: str) -> None:
    spec = write(file=file)
    want = f"{spec.removesuffix(':MyPass')}: is not a Python file; write --pass FILE.py:Class"
    assert line_of(BadInputError, lambda: Pipeline(()).with_pass(spec)) == want


def test_a_class_that_is_not_there(write: Write) -> None:
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(write().replace(":MyPass", ":MyPas")))
    assert line.endswith("my_pass.py: has no class 'MyPas'; it has MyPass")
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(write("")))
    assert line.endswith("my_pass.py: has no class 'MyPass'; write --pass FILE.py:Class")


IMPORTS = {
    "def broken(:": "cannot be imported (SyntaxError: invalid syntax (my_pass.py, line 1))",
    "raise ValueError('first\\nsecond')": "cannot be imported (ValueError: first second)",
    "import sys; sys.exit('bye')": "cannot be imported (SystemExit: bye)",
    "raise BaseException('bye')": "cannot be imported (BaseException: bye)",
    "import no_such_module": "cannot be imported (ModuleNotFoundError: No module named 'no_such_module')",
    "from . import helper": "cannot be imported (ModuleNotFoundError: No module named",
    "\0": "cannot be imported (",
    "def f(): f()\nf()": "cannot be imported (RecursionError: ",
    "def __getattr__(name): 1 / 0": "has no class 'MyPass'",
}


@pytest.mark.parametrize("text", IMPORTS)
def test_a_file_that_cannot_be_imported(write: Write, text: str) -> None:
    spec = write(text)
    before = set(sys.modules)
    line = line_of(BadInputError, lambda: Pipeline(()).with_pass(spec))
    assert line.startswith(f"{spec.removesuffix(':MyPass')}: {IMPORTS[text]}")
    assert set(sys.modules) - before <= {spec.removesuffix(":MyPass")}
