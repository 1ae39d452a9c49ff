"""lwc's own package."""

from lwc.bench.task import Run, Task
from lwc.package.load import load


def prepare(task: Task) -> Run:
    """The compiled library, loaded."""
    inputs = task.arrays()
    context = load(task.package, task.threads).context(task.threads)
    return lambda: list(context.run(*inputs))
