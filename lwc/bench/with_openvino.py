"""OpenVINO on the CPU, for latency, in float32."""

import openvino

from lwc.bench.task import Array, Run, Task

_FOR_LATENCY = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1"}


def prepare(task: Task) -> Run:
    """A compiled model from the ONNX file; its arrays are shared, not copied."""
    core = openvino.Core()
    config = {**_FOR_LATENCY, "INFERENCE_NUM_THREADS": task.threads}
    request = core.compile_model(core.read_model(task.onnx), "CPU", config).create_infer_request()
    inputs = task.arrays()

    def run() -> list[Array]:
        results = request.infer(inputs, share_inputs=True, share_outputs=True)
        return [results[port] for port in range(len(results))]

    return run
