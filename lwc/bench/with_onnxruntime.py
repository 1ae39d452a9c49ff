"""ONNX Runtime's CPU provider with all of its optimisations."""

import onnxruntime

from lwc.bench.task import Run, Task


def prepare(task: Task) -> Run:
    """A session on the ONNX file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(task.onnx), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    feeds = dict(zip(names, task.arrays(), strict=True))
    return lambda: list(session.run(None, feeds))
