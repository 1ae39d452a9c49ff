"""torch.compile with frozen weights."""

import torch
import torch._inductor.config

from lwc.bench.task import Run, Task
from lwc.bench.with_torch import runner


def prepare(task: Task) -> Run:
    """The compiled module; its first run compiles it."""
    torch._inductor.config.freezing = True
    torch.set_num_threads(task.threads)
    run = runner(task, torch.compile(task.load().module))
    run()
    return run
