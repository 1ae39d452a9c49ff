"""ncnn, its model converted by pnnx, in float32."""

import ncnn
import numpy as np
import pnnx

from lwc.bench.task import Array, Run, Task
from lwc.errors import UnsupportedError


def prepare(task: Task) -> Run:
    """A network of one image, with its input in place."""
    model = task.load()
    if any(tensor.shape[0] != 1 for tensor in model.inputs):
        raise UnsupportedError("it takes one image at a time; leave --batch out")
    stem = task.folder / "ncnn"
    pnnx.export(model.module, f"{stem}.pt", model.inputs, fp16=False)
    network = _network(task.threads)
    if network.load_param(f"{stem}.ncnn.param") or network.load_model(f"{stem}.ncnn.bin"):
        raise UnsupportedError("it cannot load what pnnx made of the model")
    inputs = [ncnn.Mat(np.ascontiguousarray(array[0])).clone() for array in task.arrays()]

    def run() -> list[Array]:
        extractor = network.create_extractor()
        for number, array in enumerate(inputs):
            extractor.input(f"in{number}", array)
        results = [extractor.extract(f"out{number}") for number in range(len(model.output_names))]
        for status, _ in results:
            if status:
                raise RuntimeError(f"ncnn's extract gave {status}")
        return [np.array(value)[None] for _, value in results]

    return run


def _network(threads: int) -> ncnn.Net:
    network = ncnn.Net()
    options = network.opt
    options.num_threads = threads
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    options.use_bf16_storage = False
    return network
