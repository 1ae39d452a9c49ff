"""What tuning found out: a trial of one choice for one kernel, and the circumstances in which it holds.

All of it may come from a damaged file or from somebody else, so every value is checked when it is made.
"""

import hashlib
import json
import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

MAX_ENTRIES = 32
MAX_STRING = 100
MAX_REASON = 300
MAX_INTEGER = 2**31
MAX_THREADS = 4096
# A description of a kernel has a few hundred characters, a target's capabilities about five hundred.
MAX_TEXT = 16 * 1024

_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{MAX_STRING - 1}}}")

Choice = dict[str, int]


@dataclass(frozen=True)
class Circumstances:
    """Where trials hold, and nowhere else.

    machine: canonical JSON of the target's capabilities, without its name and description.
    cpu: the processor, as the system names it.
    threads: how many the kernels ran on.
    versions: of all that makes the code, such as "lwc 0.1.0, apache-tvm 0.27.0.post1, kernels 1".

    Raises ValueError for a text that is empty, too long or not on one line, and for an impossible number of threads.
    """

    machine: str
    cpu: str
    threads: int
    versions: str

    def __post_init__(self) -> None:
        for name in ("machine", "cpu", "versions"):
            text = getattr(self, name)
            if not (_is_line(text, MAX_TEXT) and text):
                raise ValueError(f"{name} is not a line of up to {MAX_TEXT} characters")
        if not _is_integer(self.threads, 1, MAX_THREADS):
            raise ValueError(f"threads is not a number from 1 to {MAX_THREADS}")


@dataclass(frozen=True)
class Trial:
    """One choice for one kernel, held against the kernel that lwc takes by default.

    workload: SHA-256 of the kernel's canonical description.
    microseconds, default_microseconds: of a call, of both kernels in the same run; None unless `outcome` is "measured".
    rounds: how often the two took turns.
    reason: why it is "wrong" (other results) or "failed" (no results), on one line; empty where it was measured.
    condition: what of the device may have changed the times, such as its clock's governor, on one line.

    Raises ValueError for what no trial can be.
    """

    workload: str
    choice: Choice
    outcome: Literal["measured", "wrong", "failed"]
    microseconds: float | None
    default_microseconds: float | None
    rounds: int
    reason: str = ""
    condition: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.workload, str) and _HASH.fullmatch(self.workload)):
            raise ValueError("workload is not a SHA-256 in hexadecimal")
        _check_choice(self.choice)
        if self.outcome not in ("measured", "wrong", "failed"):
            raise ValueError('outcome is not one of "measured", "wrong" and "failed"')
        measured = self.outcome == "measured"
        for time in (self.microseconds, self.default_microseconds):
            if not (_is_time(time) if measured else time is None):
                wanted = "a finite and positive time" if measured else "no time"
                raise ValueError(f'a trial that is "{self.outcome}" has {wanted}')
        if not _is_integer(self.rounds, 1, MAX_INTEGER):
            raise ValueError(f"rounds is not a number from 1 to {MAX_INTEGER}")
        if not _is_line(self.reason, MAX_REASON) or measured != (self.reason == ""):
            raise ValueError(f"reason is not a line of up to {MAX_REASON} characters, empty where measured")
        if not _is_line(self.condition, MAX_REASON):
            raise ValueError(f"condition is not a line of up to {MAX_REASON} characters")

    @property
    def ratio(self) -> float:
        """The choice's time as a part of the default kernel's, infinite where it was not measured."""
        if self.microseconds is None or self.default_microseconds is None:
            return math.inf
        return self.microseconds / self.default_microseconds


@dataclass(frozen=True)
class Record:
    """A trial with all that is kept of it: its kernel's canonical description, and its circumstances.

    Raises ValueError where the description is not canonical, or not that of the trial's workload.
    """

    description: str
    circumstances: Circumstances
    trial: Trial

    def __post_init__(self) -> None:
        if workload_of(self.description) != self.trial.workload:
            raise ValueError("the workload is not the SHA-256 of its description")


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted keys, no spaces, ASCII. Raises ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_canonical(text: str) -> Any:
    """The value of which `text` is the canonical JSON. Raises ValueError where there is none."""
    try:
        value = json.loads(text)
        # Escaped, a lone surrogate is ASCII; it is no text all the same.
        json.dumps(value, ensure_ascii=False).encode()
        is_canonical = canonical_json(value) == text
    except (ValueError, TypeError, RecursionError):
        is_canonical = False
    if not is_canonical:
        raise ValueError("the text is not canonical JSON")
    return value


# Thousands of trials are read of a few descriptions.
@lru_cache(maxsize=64)
def workload_of(description: str) -> str:
    """The SHA-256 of a kernel's description.

    Raises ValueError where that is not the canonical text of a JSON object, or is longer than MAX_TEXT characters.
    """
    if not isinstance(description, str) or len(description) > MAX_TEXT:
        raise ValueError(f"the description is not a text of up to {MAX_TEXT} characters")
    if not isinstance(parse_canonical(description), dict):
        raise ValueError("the description is not a JSON object")
    return hashlib.sha256(description.encode()).hexdigest()


def best_of_each(trials: Iterable[Trial], rounds: int) -> dict[str, Trial]:
    """By workload the fastest of the trials that were measured in at least `rounds` rounds, the first of equals."""
    best: dict[str, Trial] = {}
    for trial in trials:
        if trial.outcome != "measured" or trial.rounds < rounds:
            continue
        if trial.workload not in best or trial.ratio < best[trial.workload].ratio:
            best[trial.workload] = trial
    return best


def _check_choice(choice: Choice) -> None:
    if not isinstance(choice, dict) or len(choice) > MAX_ENTRIES:
        raise ValueError(f"choice does not have up to {MAX_ENTRIES} entries")
    for name, value in choice.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ValueError(f"choice has a name that is no identifier of up to {MAX_STRING} characters")
        if not _is_integer(value, -MAX_INTEGER, MAX_INTEGER):
            raise ValueError(f"choice has no integer of up to 2**31 as {name}")


def _is_line(text: object, limit: int) -> bool:
    # No line break, no terminal's control sequence, no lone surrogate is printable.
    return isinstance(text, str) and len(text) <= limit and text.isprintable()


def _is_integer(value: object, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _is_time(value: object) -> bool:
    if not isinstance(value, float | int) or isinstance(value, bool):
        return False
    return 0 < value <= sys.float_info.max
