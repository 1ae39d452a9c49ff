"""What comes back from a bundle may come from anybody."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from lwc.errors import BadInputError
from lwc.tune.bundle import is_results, parse_results
from lwc.tune.records import canonical_json
from tests.tune.made import HERE, kernel

# A program of the planned kernel and two choices: one run checks them, two time them.
PROGRAM = {
    "description": kernel(1),
    "choices": [{"tile": 4}, {"tile": 8}],
    "runs": 3,
    "copies": [-1, 0, 1, 2],
    "samples": 1,
    "limits": [1e-6, 1e-6, 1e-6],
}


def ran(printed: str, **changes: Any) -> dict[str, Any]:
    """A run that ended well, or as `changes` say."""
    return {"code": 0, "signal": 0, "late": False, "printed": printed, **changes}


def timed(*nanoseconds: float) -> dict[str, Any]:
    """What a run prints that times the calls of PROGRAM."""
    return ran(f'{{"median_ms": 1}}\n{{"calls_ns": {list(nanoseconds)}}}\n')


CHECKED = ran('{"rms_errors": [0, 5e-7, 0.5]}\n')
RESULTS = {
    "bundle": {
        "schema_version": 1,
        "machine": HERE.machine,
        "threads": HERE.threads,
        "versions": HERE.versions,
        "rounds": 5,
        "seconds": 60.0,
        "programs": [PROGRAM],
    },
    "report": {
        "runs": [CHECKED, timed(9, 4000, 2000, 1), timed(9, 4000, 3000, 1)],
        "cpu": HERE.cpu,
        "governor": "powersave",
        "throttled": True,
    },
}


def text(change: Callable[[Any], object]) -> bytes:
    """RESULTS with a `change`."""
    results = copy.deepcopy(RESULTS)
    change(results)
    return json.dumps(results).encode()


def test_times_and_errors_become_records() -> None:
    found = parse_results(text(lambda results: None), "results.json")
    assert found.failures == []
    right, wrong = (record.trial for record in found.records)
    assert {record.circumstances for record in found.records} == {HERE}
    assert (right.outcome, right.microseconds, right.default_microseconds) == ("measured", 2.5, 4.0)
    assert (right.rounds, right.condition) == (5, "governor powersave, throttled")
    assert (wrong.outcome, wrong.choice) == ("wrong", {"tile": 8})
    assert "differs from PyTorch by 0.5" in wrong.reason


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (ran("", signal=11), "ended by signal 11"),
        (ran("", code=3), "ended with exit code 3"),
        (ran("", late=True), "did not end within 60 s"),
        (ran("nonsense"), "the program printed no errors"),
        (ran("[" * 60_000), "the program printed no errors"),
        (ran('{"rms_errors": [0, 0, ' + "9" * 400 + "]}"), "the program printed no errors"),
        (ran('{"rms_errors": [0, 0]}'), "the program printed no errors"),
        (ran('{"rms_errors": [1, 0, 0]}'), "the planned kernel is wrong: differs from PyTorch by 1"),
        (ran('{"rms_errors": [null, 0, 0]}'), "the planned kernel is wrong: gives NaN or infinity"),
        (None, "was not run, since one before it failed"),
    ],
)
def test_a_program_that_failed_says_nothing_of_its_choices(run: Any, reason: str) -> None:
    def fail(results: Any) -> None:
        results["report"]["runs"][0] = run

    found = parse_results(text(fail), "results.json")
    assert found.records == []
    assert len(found.failures) == 1
    assert found.failures[0].startswith(reason)


def test_a_time_is_a_positive_number() -> None:
    for nanoseconds in (0, -1, "NaN", "Infinity", "1e999"):
        answer = ran(f'{{"median_ms": 1}}\n{{"calls_ns": [9, 4000, {nanoseconds}, 1]}}\n')

        def spoil(results: Any, answer: Any = answer) -> None:
            results["report"]["runs"][1] = answer

        found = parse_results(text(spoil), "results.json")
        assert (found.records, found.failures) == ([], ["a time is no number"])


def put(value: Any, *path: str | int) -> Callable[[Any], None]:
    """Puts `value` in the place of what is at `path`."""

    def change(results: Any) -> None:
        for step in path[:-1]:
            results = results[step]
        results[path[-1]] = value

    return change


PROGRAMS = ("bundle", "programs", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(2, "bundle", "schema_version"), "'bundle.schema_version': Input should be 1"),
        (put(0, "bundle", "threads"), "threads is not a number from 1"),
        (put("a\nb", "bundle", "versions"), "versions is not a line"),
        (put("", "report", "cpu"), "'report.cpu': String should have at least 1 character"),
        (put(int("9" * 400), "report", "runs", 0, "code"), "report.runs.0"),
        (put([], "report", "runs"), "its report is not of its bundle"),
        (put({"a": 1}, "report", "runs", 0), "report.runs.0"),
        (put("{}x", *PROGRAMS, "description"), "not canonical JSON"),
        (put([{"tile": 4}], *PROGRAMS, "choices"), "a program's kernels are not its choices'"),
        (put([{"tile": "4"}, {}], *PROGRAMS, "choices"), "bundle.programs.0.choices.0.tile"),
        (put([0, 1, 2, 10**9], *PROGRAMS, "copies"), "a program's kernels are not its choices'"),
        (put([1.0], *PROGRAMS, "limits"), "a program's limits are not its choices'"),
        (put(-1, *PROGRAMS, "runs"), "bundle.programs.0.runs"),
        (put(4, *PROGRAMS, "samples"), "a program has more samples than runs"),
    ],
)
def test_what_is_malformed_is_taken_over_by_nobody(change: Callable[[Any], None], message: str) -> None:
    with pytest.raises(BadInputError, match=r"^results.json: .*; run the bundle again$") as caught:
        parse_results(text(change), "results.json")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_results_are_told_from_exported_records() -> None:
    assert is_results(text(lambda results: None), "results.json")
    assert not is_results(canonical_json({"schema_version": 1, "records": []}).encode(), "results.json")
    with pytest.raises(BadInputError, match=r"results\.json"):
        is_results(b"[1", "results.json")
