"""PyTorch as it is, without compiling."""

from collections.abc import Callable
from typing import Any

import torch

from lwc.bench.task import Array, Run, Task


def prepare(task: Task) -> Run:
    """The module itself."""
    return runner(task, task.load().module)


def runner(task: Task, module: Callable[..., Any]) -> Run:
    """Calls `module` without gradients."""
    torch.set_num_threads(task.threads)
    inputs = [torch.from_numpy(array) for array in task.arrays()]

    def run() -> list[Array]:
        with torch.inference_mode():
            results = module(*inputs)
        return [results.numpy()] if isinstance(results, torch.Tensor) else [y.numpy() for y in results]

    return run
