"""Cannot run the model, and prints."""

from lwc.bench.task import Run, Task


def prepare(task: Task) -> Run:
    print("more than anyone wants to read")
    raise ValueError("operator foo\nis not known")
