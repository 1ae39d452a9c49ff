"""Timing that is fair to those who take turns."""

import time
from collections.abc import Callable

# Idle threads of a runtime spin on for a while: the next one must not share the cores with them.
_PAUSE_SECONDS = 0.3
WARM_UP = 5


def measure(run: Callable[[], object], repeat: int) -> list[float]:
    """Milliseconds of `repeat` runs, after a pause and some that do not count."""
    time.sleep(_PAUSE_SECONDS)
    for _ in range(WARM_UP):
        run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times
