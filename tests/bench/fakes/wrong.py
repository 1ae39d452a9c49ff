"""Doubles the input, and a little more."""

from lwc.bench.task import Run, Task


def prepare(task: Task) -> Run:
    inputs = task.arrays()
    return lambda: [2.01 * array for array in inputs]
