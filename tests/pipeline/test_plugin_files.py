"""Passes from a file."""

from pathlib import Path

import pytest

from lwc.errors import BadInputError
from lwc.pipeline import DEFAULT, Pipeline, make_pass, run_pipeline
from lwc.pipeline.verify import Verifier
from lwc.trace import Program
from tests.pipeline.plugins import GOOD, Write, line_of, names
from tests.programs import operators


def test_a_file_goes_where_it_is_put(write: Write) -> None:
    spec = write()
    first, last = Pipeline.parse("default,-fold-padding").passes[0], make_pass(DEFAULT[-1])
    default = Pipeline.parse("default")
    at = DEFAULT.index("fold-batch-norm")
    assert names(default.with_pass(spec)) == [*DEFAULT, "my-pass"]
    after = Pipeline.parse("default", extra=[f"{spec},after=fold-batch-norm"])
    assert names(after) == [*DEFAULT[: at + 1], "my-pass", *DEFAULT[at + 1 :]]
    before = Pipeline.parse("default", extra=[f"{spec},before=fold-batch-norm"])
    assert names(before) == [*DEFAULT[:at], "my-pass", *DEFAULT[at:]]
    assert (before.passes[0], before.passes[-1]) == (first, last)


def test_a_file_takes_options(write: Write, program: Program) -> None:
    pipeline = Pipeline.parse("default", extra=[f"{write()}{{option=7,fast=true}},after=fold-batch-norm"])
    assert f"{write()}{{option=7,fast=True}}" in str(pipeline)
    _, records = run_pipeline(pipeline, program)
    (record,) = (record for record in records if record.name == "my-pass")
    assert [refusal.reason for refusal in record.refusals] == ["it is too old"] * 2


def test_a_file_rewrites_and_is_verified(write: Write, program: Program) -> None:
    verifier = Verifier(program)
    after, (record,) = run_pipeline(Pipeline(()).with_pass(write()), program, (verifier,))
    assert record.count == 2
    assert operators(after).count("aten.clamp_min.default") == 2
    assert verifier.checks[1].error <= verifier.checks[1].limit


def test_a_file_stands_in_a_list_of_passes_and_can_be_taken_out(write: Write) -> None:
    spec = write()
    assert names(Pipeline.parse(f"fold-constants,{spec}{{option=1}}")) == ["fold-constants", "my-pass"]
    assert names(Pipeline.parse(f"fold-constants,{spec},-my-pass")) == ["fold-constants"]


def test_a_file_may_be_given_twice_and_be_the_place_of_another(write: Write) -> None:
    spec = write()
    other = write(GOOD.replace("my-pass", "other"), "other.py")
    pipeline = Pipeline.parse(
        "fold-constants", extra=[spec, f"{spec}{{option=1}}", f"{other},before=my-pass"]
    )
    assert str(pipeline) == f"fold-constants,{other},{spec},{spec}{{option=1}}"


def test_a_file_that_changed_is_read_anew(write: Write) -> None:
    Pipeline.parse("default", extra=[write()])
    assert names(Pipeline(()).with_pass(write(GOOD.replace("my-pass", "my-changed-pass")))) == [
        "my-changed-pass"
    ]


@pytest.mark.parametrize("file", ["a:b.py", "with space.py", "ü.py", "my.pass.py", "-pass.py", "a=b.py"])
def test_paths_of_all_kinds(write: Write, file: str) -> None:
    assert names(Pipeline(()).with_pass(write(file=file))) == ["my-pass"]


def test_a_home_folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names(Pipeline(()).with_pass("~/my_pass.py:MyPass")) == ["my-pass"]


def test_annotations_as_text(write: Write) -> None:
    spec = write(f"from __future__ import annotations\n{GOOD}") + "{option=3}"
    assert str(Pipeline(()).with_pass(spec)) == spec


def test_files_whose_passes_have_one_name(write: Write) -> None:
    mine, other = write(), write(file="other.py")
    line = line_of(BadInputError, lambda: Pipeline.parse("default", extra=[mine, other]))
    assert line == f"pass 'my-pass' ({other}): has the name of another pass ({mine}); rename it"


def test_a_file_whose_pass_has_the_name_of_one_of_lwc(write: Write) -> None:
    spec = write(GOOD.replace("my-pass", "fold-constants"))
    line = line_of(BadInputError, lambda: Pipeline.parse("raise-operators", extra=[spec]))
    assert line == f"pass 'fold-constants' ({spec}): has the name of another pass (lwc's own); rename it"
