"""OpenVINO on the CPU, for latency: in float32, or quantized by NNCF."""

from typing import Any

import openvino

from lwc.bench.task import Array, Run, Task

_FOR_LATENCY = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1"}


def prepare(task: Task) -> Run:
    """A compiled model from the ONNX file; its arrays are shared, not copied."""
    core = openvino.Core()
    model = core.read_model(task.onnx)
    if task.precision == "int8":
        model = _quantized(model, task)
    config = {**_FOR_LATENCY, "INFERENCE_NUM_THREADS": task.threads}
    request = core.compile_model(model, "CPU", config).create_infer_request()
    inputs = task.arrays()

    def run() -> list[Array]:
        results = request.infer(inputs, share_inputs=True, share_outputs=True)
        return [results[port] for port in range(len(results))]

    return run


def _quantized(model: Any, task: Task) -> Any:
    import nncf

    samples = task.calibration()
    return nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))
