"""A trial cannot be made of values that no trial can have."""

import math
from typing import Any

import pytest

from lwc.tune.records import (
    MAX_ENTRIES,
    MAX_REASON,
    MAX_STRING,
    MAX_TEXT,
    Circumstances,
    Record,
    Trial,
    best_of_each,
    canonical_json,
    workload_of,
)
from tests.tune.made import HERE, failed, fields_of, kernel, measured, wrong

KERNEL = kernel(1)


def test_the_ratio_is_to_the_default_kernel() -> None:
    assert measured(KERNEL, 0.75).ratio == 0.75
    assert failed(KERNEL).ratio == wrong(KERNEL).ratio == math.inf


def test_the_largest_that_is_allowed() -> None:
    choice: dict[str, int] = {f"x{number}": 2**31 for number in range(MAX_ENTRIES - 1)}
    choice["x" * MAX_STRING] = -(2**31)
    assert Trial(**fields_of(failed(KERNEL), choice=choice, reason="x" * MAX_REASON)).choice == choice


@pytest.mark.parametrize(
    "workload", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 63 + "\n", None, 7, b"a" * 64]
)
def test_a_workload_is_a_hash(workload: Any) -> None:
    with pytest.raises(ValueError, match="workload"):
        Trial(**fields_of(measured(KERNEL), workload=workload))


CHOICES: list[Any] = [
    None,
    [],
    {f"x{number}": 1 for number in range(MAX_ENTRIES + 1)},
    {"": 1},
    {"1x": 1},
    {"a-b": 1},
    {"é": 1},
    {"x\n": 1},
    {1: 1},
    {"x" * (MAX_STRING + 1): 1},
    {"x": 2**31 + 1},
    {"x": -(2**31) - 1},
    {"x": 1.0},
    {"x": True},
    {"x": None},
    {"x": [1]},
    {"x": "1"},
]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_is_small_and_plain(choice: Any) -> None:
    with pytest.raises(ValueError, match="choice"):
        Trial(**fields_of(measured(KERNEL), choice=choice))


@pytest.mark.parametrize("name", ["microseconds", "default_microseconds"])
@pytest.mark.parametrize("time", [None, 0.0, -1.0, math.nan, math.inf, -math.inf, True, "1", 10**400])
def test_what_was_measured_has_finite_and_positive_times(name: str, time: Any) -> None:
    with pytest.raises(ValueError, match="finite and positive"):
        Trial(**fields_of(measured(KERNEL), **{name: time}))


@pytest.mark.parametrize("trial", [failed(KERNEL), wrong(KERNEL)])
@pytest.mark.parametrize("name", ["microseconds", "default_microseconds"])
def test_nothing_else_has_times(trial: Trial, name: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        Trial(**fields_of(trial, **{name: 1.0}))


@pytest.mark.parametrize("rounds", [0, -1, 2**31 + 1, 2**70, 1.0, True, "1", None])
def test_rounds_are_counted(rounds: Any) -> None:
    with pytest.raises(ValueError, match="rounds"):
        Trial(**fields_of(measured(KERNEL), rounds=rounds))


@pytest.mark.parametrize("reason", ["", "x" * (MAX_REASON + 1), "two\nlines", "\ud800", "\x1b[2J", None])
def test_a_failure_has_a_reason_on_one_line(reason: Any) -> None:
    with pytest.raises(ValueError, match="reason"):
        Trial(**fields_of(failed(KERNEL), reason=reason))


def test_a_measured_trial_has_no_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        Trial(**fields_of(measured(KERNEL), reason="luck"))


@pytest.mark.parametrize("outcome", ["", "right", "Measured", None, 1])
def test_other_outcomes(outcome: Any) -> None:
    with pytest.raises(ValueError, match="outcome"):
        Trial(**fields_of(failed(KERNEL), outcome=outcome))


@pytest.mark.parametrize("name", ["machine", "cpu", "versions"])
@pytest.mark.parametrize("text", ["", "two\nlines", "\ud800", "x" * (MAX_TEXT + 1), None, b"x"])
def test_circumstances_are_lines(name: str, text: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Circumstances(**(vars(HERE) | {name: text}))


@pytest.mark.parametrize("threads", [0, -1, 10**6, 1.5, True, None])
def test_a_possible_number_of_threads(threads: Any) -> None:
    with pytest.raises(ValueError, match="threads"):
        Circumstances(**(vars(HERE) | {"threads": threads}))


def test_the_order_of_the_entries_does_not_matter() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == canonical_json({"a": "é", "b": 1}) == '{"a":"\\u00e9","b":1}'


DESCRIPTIONS: list[Any] = [
    '{"a": 1}',
    '{"b":1,"a":2}',
    '{"a":1,"a":1}',
    '{"a":"é"}',
    '{"a":"\\ud800"}',
    '{"a":NaN}',
    '{"a":Infinity}',
    '{"a":1e999}',
    "[1]",
    "7",
    "",
    "{",
    "[" * 15_000,
    canonical_json({"a": "x" * MAX_TEXT}),
    None,
    7,
    b'{"a":1}',
]


@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_a_description_is_the_canonical_text_of_an_object(description: Any) -> None:
    with pytest.raises(ValueError, match=r"text|object"):
        workload_of(description)


def test_a_record_holds_the_description_of_its_own_kernel() -> None:
    Record(KERNEL, HERE, measured(KERNEL))
    with pytest.raises(ValueError, match="SHA-256 of its description"):
        Record(kernel(2), HERE, measured(KERNEL))


def test_the_best_is_the_fastest_that_was_confirmed() -> None:
    other = kernel(2)
    slow, fast = measured(KERNEL, 0.9, 10, tile=4), measured(KERNEL, 0.8, 10, tile=8)
    hasty = measured(KERNEL, 0.1, 9, tile=16)
    trials = [slow, fast, hasty, failed(KERNEL, 10, tile=1), wrong(KERNEL, 10, tile=2), wrong(other, 10)]
    assert best_of_each(trials, 10) == {fast.workload: fast}
    assert best_of_each(trials, 9) == {fast.workload: hasty}
    assert best_of_each(trials, 11) == {}
    same = measured(KERNEL, 0.8, 10, tile=32)
    assert best_of_each([fast, same], 1) == {fast.workload: fast}
