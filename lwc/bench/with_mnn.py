"""MNN on the CPU, in float32."""

import subprocess
import sys

import MNN
import numpy as np

from lwc.bench.task import Array, Run, Task
from lwc.errors import UnsupportedError


def prepare(task: Task) -> Run:
    """A session on what MNN's converter makes of the ONNX file."""
    path = task.folder / "model.mnn"
    _convert(task, path)
    interpreter = MNN.Interpreter(str(path))
    session = interpreter.createSession({"backend": "CPU", "numThread": task.threads, "precision": "high"})
    ports = list(interpreter.getSessionInputAll(session).values())
    for port, array in zip(ports, task.arrays(), strict=True):
        port.copyFrom(_tensor(array))
    outputs = list(interpreter.getSessionOutputAll(session).values())
    blank = [_tensor(np.zeros(port.getShape(), np.float32)) for port in outputs]

    def run() -> list[Array]:
        interpreter.runSession(session)
        for port, host in zip(outputs, blank, strict=True):
            port.copyToHostTensor(host)
        return [np.array(host.getNumpyData()) for host in blank]

    return run


def _convert(task: Task, path: object) -> None:
    # The converter ends its process.
    command = [sys.executable, "-m", "MNN.tools.mnnconvert", "-f", "ONNX", "--bizCode", "lwc"]
    command += ["--modelFile", str(task.onnx), "--MNNModel", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnsupportedError(f"its converter failed ({done.stderr.strip()[-200:]})")


def _tensor(array: Array) -> MNN.Tensor:
    return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe)
