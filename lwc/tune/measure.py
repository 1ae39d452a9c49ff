"""What a built program is run for, and what its answers mean: how long each kernel takes, and whether it is right."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lwc.tune.job import Ran, Run, printed, sample_file
from lwc.tune.trials import Built, Refusal

RUN_SECONDS = 60.0
# What reading numbers out of an answer may raise.
MALFORMED = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Measured:
    """The median times of a choice and of the planned kernel in the same runs, in microseconds.

    `condition`: what of the device may have changed them.
    """

    microseconds: float
    planned: float
    condition: str = ""


@dataclass(frozen=True)
class Wrong:
    """How a choice's results differ from PyTorch's."""

    reason: str


Outcome = Measured | Wrong | Refusal


def runs_of(built: Built, threads: int, repeat: int, rounds: int) -> tuple[Run, ...]:
    """The runs that check a program's kernels, where it has what to check them by, and time them in `rounds`."""
    outputs = range(len(built.limits))
    checks = [
        _run(built, threads, sample, _named("expected", sample, outputs))
        for sample in range(built.samples)
        if built.limits
    ]
    timed = _run(built, threads, 0, ("--repeat", str(repeat), "--profile"))
    return (*checks, *[timed] * rounds)


def _run(built: Built, threads: int, sample: int, more: tuple[str, ...]) -> Run:
    named = _named("input", sample, range(built.inputs))
    return Run(built.folder, ("--threads", str(threads), *named, *more))


def _named(kind: str, sample: int, indices: range) -> tuple[str, ...]:
    return tuple(word for index in indices for word in (f"--{kind}", sample_file(kind, sample, index)))


@dataclass(frozen=True)
class Asked:
    """What the answers of a `Built` are read by: some of its fields, and the seconds that each run had."""

    copies: tuple[int, ...]
    samples: int
    limits: tuple[float, ...]
    seconds: float


def outcomes_of(asked: Asked, runs: Sequence[Ran | None], condition: str) -> list[Outcome] | Refusal:
    """What `runs`, on a device in that `condition`, say of each choice.

    A Refusal says that the program as a whole, or the planned kernel, cannot be tried.
    """
    answers = []
    for run in runs:
        answer = printed(run, asked.seconds)
        if isinstance(answer, Refusal):
            return answer
        answers.append(answer)
    count = asked.samples if asked.limits else 0
    wrong = _check(answers[:count], asked.limits) if count else ("",) * (1 + max(asked.copies))
    if isinstance(wrong, Refusal):
        return wrong
    if wrong[0]:
        return Refusal(f"the planned kernel is wrong: {wrong[0]}")
    rounds = []
    for answer in answers[count:]:
        times = _times(answer, asked.copies)
        if isinstance(times, Refusal):
            return times
        rounds.append(times)
    planned, *others = map(float, np.median(rounds, axis=0))
    return [
        Wrong(text) if text else Measured(time, planned, condition)
        for text, time in zip(wrong[1:], others, strict=True)
    ]


def _times(answer: str, copies: Sequence[int]) -> tuple[float, ...] | Refusal:
    """Median microseconds of each copy in one run, in which they take turns; the planned kernel first."""
    try:
        _, calls = map(json.loads, answer.splitlines())
        nanoseconds = np.array(calls["calls_ns"], np.float64).reshape(len(copies))
    except MALFORMED:
        return Refusal("the program printed no times")
    owners = np.array(copies)
    sums = [1e-3 * float(nanoseconds[owners == own].sum()) for own in range(1 + max(copies))]
    return tuple(sums) if all(np.isfinite(sums)) and min(sums) > 0 else Refusal("a time is no number")


def _check(answers: Sequence[str], limits: Sequence[float]) -> tuple[str, ...] | Refusal:
    """For each copy what is wrong with its results, beside PyTorch's; empty where they are right."""
    try:
        # null, where a value is not finite, becomes NaN.
        errors = np.array([json.loads(answer)["rms_errors"] for answer in answers], np.float64)
        over_all = np.sqrt(np.mean(errors.reshape(len(answers), len(limits)) ** 2, axis=0))
    except MALFORMED:
        return Refusal("the program printed no errors")
    return tuple(map(_wrong, over_all, limits))


def _wrong(error: float, limit: float) -> str:
    if np.isnan(error):
        return "gives NaN or infinity, unlike PyTorch"
    if error <= limit:
        return ""
    return f"differs from PyTorch by {error:.3g} (root mean square), more than {limit:.3g}"
