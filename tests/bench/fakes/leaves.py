"""Ends its process between two turns."""

import os
import threading

from lwc.bench.task import Array, Run, Task


def prepare(task: Task) -> Run:
    inputs, runs = task.arrays(), []

    def run() -> list[Array]:
        runs.append(1)
        if len(runs) == 1:
            # After the answer to the first question, before the next.
            threading.Timer(2, os._exit, (3,)).start()
        return [2 * array for array in inputs]

    return run
