"""Never comes back."""

import time

from lwc.bench.task import Run, Task


def prepare(task: Task) -> Run:
    time.sleep(60)
    raise AssertionError
