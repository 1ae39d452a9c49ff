"""Specs that nobody can read: UsageError."""

from pathlib import Path

import pytest

from lwc.errors import UsageError
from lwc.pipeline import Pipeline
from tests.pipeline.plugins import Write, line_of

FORM = "malformed; write FILE.py:Class,after=NAME or FILE.py:Class,before=NAME; no path may have a comma or a brace"
SPECS = {
    "my_pass.py": "pass 'my_pass.py': names no class of a file; write FILE.py:Class",
    "my_pass.py:": "pass 'my_pass.py:': names no class of a file; write FILE.py:Class",
    ":MyPass": "pass ':MyPass': names no class of a file; write FILE.py:Class",
    "my_pass.py:My-Pass": "pass 'my_pass.py:My-Pass': names no class of a file; write FILE.py:Class",
    "my_pass.py:MyPass,MyPass": FORM,
    "a,b.py:MyPass": FORM,
    "my_pass.py:MyPass,after=fold-constants,before=fold-constants": FORM,
    "my_pass.py:MyPass,behind=fold-constants": FORM,
    "my_pass.py:MyPass,after": "pass '': not in the pipeline; choose from ",
    "my_pass.py:MyPass,after=fold-nothing": "pass 'fold-nothing': not in the pipeline; choose from ",
    "": "malformed",
    ",": "malformed",
    "my_pass.py:MyPass{": "malformed; write a,b{option=value},c",
    "my_pass.py:MyPass}": "braces do not match",
    "fold-constant": "pass 'fold-constant': unknown; did you mean fold-constants?",
}


@pytest.mark.parametrize("spec", SPECS)
def test_a_malformed_spec(spec: str) -> None:
    assert SPECS[spec] in line_of(UsageError, lambda: Pipeline.parse("default", extra=[spec]))


OPTIONS = {
    "{option}": "is malformed; write ",
    "{}": "is malformed; write ",
    "{option=1}x": "is malformed; write ",
    "{option=1,option=2}": "option 'option' is given twice; give it once",
    "{option=one}": "pass 'my-pass': option option=one is not int",
    "{fast=maybe}": "pass 'my-pass': option fast=maybe is not bool",
    "{optoin=1}": "pass 'my-pass': no option 'optoin'; it has option, fast",
    "{name=x}": "pass 'my-pass': no option 'name'; it has option, fast",
    "{option=10}": "pass 'my-pass': option is above 9",
}


@pytest.mark.parametrize("options", OPTIONS)
def test_malformed_options(write: Write, options: str) -> None:
    spec = write() + options
    assert OPTIONS[options] in line_of(UsageError, lambda: Pipeline.parse("default", extra=[spec]))


def test_a_file_is_not_run_before_its_place_is_known(write: Write, tmp_path: Path) -> None:
    spec = write(f"open({str(tmp_path / 'ran')!r}, 'w')")
    line_of(UsageError, lambda: Pipeline.parse("default", extra=[f"{spec},after=nothing"]))
    assert not (tmp_path / "ran").exists()
