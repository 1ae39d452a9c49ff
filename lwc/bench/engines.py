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

    `distribution`: whose version is shown. `needs_onnx`: whether it reads the model from ONNX. `int8_imports`: what it
    needs besides to quantize the model; None: it takes no part in INT8.
    """

    module: str
    distribution: str
    imports: tuple[str, ...]
    needs_onnx: bool = False
    int8_imports: tuple[str, ...] | None = None

    def absence(self, precision: str) -> str | None:
        """Why it takes no part: modules that are not installed, or no INT8; None where it does."""
        needed = (*self.imports, *(self.int8_imports or ())) if precision == "int8" else self.imports
        if precision == "int8" and self.int8_imports is None:
            return "lwc bench has no way to quantize a model for it"
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else None

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
    LWC: Engine("lwc.bench.with_lwc", "lwc", (), int8_imports=()),
    "onnxruntime": Engine(
        "lwc.bench.with_onnxruntime",
        "onnxruntime",
        ("onnxruntime", *ONNX_EXPORT),
        needs_onnx=True,
        int8_imports=(),
    ),
    "openvino": Engine(
        "lwc.bench.with_openvino",
        "openvino",
        ("openvino", *ONNX_EXPORT),
        needs_onnx=True,
        int8_imports=("nncf",),
    ),
    "torch": Engine("lwc.bench.with_torch", "torch", ()),
    "torch-compile": Engine("lwc.bench.with_torch_compile", "torch", ()),
    "ncnn": Engine("lwc.bench.with_ncnn", "ncnn", ("ncnn", "pnnx")),
    "mnn": Engine("lwc.bench.with_mnn", "MNN", ("MNN", *ONNX_EXPORT), needs_onnx=True),
    "litert": Engine("lwc.bench.with_litert", "ai-edge-litert", ("ai_edge_litert", "litert_torch")),
}
