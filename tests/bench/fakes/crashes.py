"""Ends its process at the seventh run."""

import os

from lwc.bench.task import Array, Run, Task


def prepare(task: Task) -> Run:
    inputs, runs = task.arrays(), []

    def run() -> list[Array]:
        runs.append(1)
        if len(runs) > 6:
            os.abort()
        return [2 * array for array in inputs]

    return run
