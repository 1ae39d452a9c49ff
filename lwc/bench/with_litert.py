"""LiteRT with XNNPACK, its file converted by litert-torch."""

import litert_torch
from ai_edge_litert.interpreter import Interpreter

from lwc.bench.task import Array, Run, Task


def prepare(task: Task) -> Run:
    """An interpreter with its input in place."""
    model = task.load()
    path = task.folder / "model.tflite"
    litert_torch.convert(model.module, model.inputs).export(str(path))
    interpreter = Interpreter(str(path), num_threads=task.threads)
    interpreter.allocate_tensors()
    for port, array in zip(interpreter.get_input_details(), task.arrays(), strict=True):
        interpreter.set_tensor(port["index"], array)
    outputs = [port["index"] for port in interpreter.get_output_details()]

    def run() -> list[Array]:
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return run
