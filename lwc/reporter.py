"""Who is told how far a command is, and how long its stages take."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol


class Reporter(Protocol):
    """Who is told of the progress."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Entered for each of load, trace, passes, calibrate, budget, evaluate, reach, tune, compare, lower, build,
        link and verify, in turn.

        `calibrate` is there for INT8 alone, `quantize` in its place for a model that is quantized already; `budget`,
        `evaluate`, and `tune` with `reach` (the devices) before it where they are asked for, `compare` where tuning
        found faster kernels. `bundle` stands in the place of what follows `passes`.
        """

    def note(self, text: str) -> None:
        """How far the stage is."""

    def warn(self, message: str) -> None:
        """A line that the user must not overlook."""


@dataclass(frozen=True)
class Clock:
    """Tells `reporter` of each stage, and keeps the seconds that it took."""

    reporter: Reporter
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Covers one stage."""
        start = time.perf_counter()
        with self.reporter.stage(name):
            yield
        self.seconds[name] = time.perf_counter() - start
