"""The engines that lwc is measured beside, and how each runs a model."""

import importlib.util
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lwc.bench.task import Run, Task


@dataclass(frozen=True)
class Engine:
    """`module` defines `prepare(task) -> Run`; `imports` are the modules that it needs.

    `distribution`: whose version is shown. `needs_onnx`: whether it reads the model from ONNX.
    """

    module: str
    distribution: str
    imports: tuple[str, ...]
    needs_onnx: bool = False

    def missing(self) -> tuple[str, ...]:
        """Those of `imports` that are not installed."""
        return tuple(name for name in self.imports if importlib.util.find_spec(name) is None)

    def version(self) -> str:
        """The version of `distribution`."""
        return metadata.version(self.distribution)

    def prepare(self, task: "Task") -> "Run":
        """Load the model into the engine; what is returned runs it once and gives its outputs."""
        run: Run = import_module(self.module).prepare(task)
        return run


ONNX_EXPORT = ("onnx", "onnxscript")
LWC = "lwc"
ENGINES = {
    LWC: Engine("lwc.bench.with_lwc", "lwc", ()),
    "onnxruntime": Engine(
        "lwc.bench.with_onnxruntime", "onnxruntime", ("onnxruntime", *ONNX_EXPORT), needs_onnx=True
    ),
    "openvino": Engine("lwc.bench.with_openvino", "openvino", ("openvino", *ONNX_EXPORT), needs_onnx=True),
    "torch": Engine("lwc.bench.with_torch", "torch", ()),
    "torch-compile": Engine("lwc.bench.with_torch_compile", "torch", ()),
    "ncnn": Engine("lwc.bench.with_ncnn", "ncnn", ("ncnn", "pnnx")),
    "mnn": Engine("lwc.bench.with_mnn", "MNN", ("MNN", *ONNX_EXPORT), needs_onnx=True),
    "litert": Engine("lwc.bench.with_litert", "ai-edge-litert", ("ai_edge_litert", "litert_torch")),
}
