"""ONNX Runtime's CPU provider with all of its optimisations: in float32, or with QDQ nodes, weights per channel."""

from pathlib import Path

import onnxruntime

from lwc.bench.task import Run, Task


def prepare(task: Task) -> Run:
    """A session on the ONNX file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.inter_op_num_threads = 1
    path = task.onnx if task.precision == "fp32" else _quantized(task)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    feeds = dict(zip(names, task.arrays(), strict=True))
    return lambda: list(session.run(None, feeds))


def _quantized(task: Task) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, path = task.folder / "prepared.onnx", task.folder / "quantized.onnx"
    quant_pre_process(str(task.onnx), str(prepared), skip_symbolic_shape=True)
    session = onnxruntime.InferenceSession(str(prepared), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    feeds = iter([dict(zip(names, sample, strict=True)) for sample in task.calibration()])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, object] | None:
            return next(feeds, None)

    quantize_static(str(prepared), str(path), Reader(), per_channel=True)
    return path
