"""Progress on stderr."""

import io
import re

import pytest

from lwc.cli.progress import PlainConsole, StageReporter


def reporter(terminal: bool) -> tuple[StageReporter, io.StringIO]:
    stream = io.StringIO()
    return StageReporter(PlainConsole(stream, terminal)), stream


def test_each_stage_is_a_line_where_nobody_watches() -> None:
    report, stream = reporter(terminal=False)
    for name in ("trace", "link"):
        with report.stage(name):
            pass
    assert re.fullmatch(r"trace +0\.0 s\nlink +0\.0 s\n", stream.getvalue())


def test_a_stage_is_shown_while_it_runs_on_a_terminal() -> None:
    report, stream = reporter(terminal=True)
    with report.stage("build"):
        pass
    assert "build" in stream.getvalue()
    assert "\x1b[" in stream.getvalue()


def test_how_far_a_stage_is_stands_beside_its_name_on_a_terminal() -> None:
    report, stream = reporter(terminal=True)
    with report.stage("evaluate"):
        report.note("7 of 200 [images]")
    assert "evaluate: 7 of 200 [images]" in stream.getvalue()
    report, stream = reporter(terminal=False)
    with report.stage("evaluate"):
        report.note("7 of 200 images")
    assert "200" not in stream.getvalue()


def test_a_stage_that_fails_leaves_no_line() -> None:
    report, stream = reporter(terminal=False)
    with pytest.raises(ValueError, match="x"), report.stage("trace"):
        raise ValueError("x")
    assert stream.getvalue() == ""


def test_warnings_are_loud_and_one_line() -> None:
    report, stream = reporter(terminal=False)
    report.warn("the hub cannot be reached;\nweights are random")
    assert stream.getvalue() == "warning: the hub cannot be reached; weights are random\n"
    report, stream = reporter(terminal=True)
    report.warn("[red]loud")
    assert "\x1b[1;33mwarning: [red]loud" in stream.getvalue()
