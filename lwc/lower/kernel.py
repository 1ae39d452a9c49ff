"""The template kernels of one program: each distinct one planned, packed and scheduled once."""

from dataclasses import dataclass, field
from typing import Any

from lwc.lower.accumulate import accumulate_in_dot_products
from lwc.lower.prefetch import insert_prefetches
from lwc.targets.kernels import (
    attention,
    attention_schedule,
    conv2d,
    depthwise,
    gemm,
    matmul,
    norm,
    plain,
    quantized_attention,
    quantized_attention_schedule,
    quantized_conv2d,
    quantized_depthwise,
    quantized_gemm,
    separable,
    winograd,
    winograd_schedule,
)
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, tirx, tvm

ATTRIBUTE = "lwc.kernel"


_TEMPLATES: dict[type, Any] = {
    gemm.Gemm: gemm,
    conv2d.Conv2d: conv2d,
    depthwise.Depthwise: depthwise,
    separable.Separable: separable,
    matmul.Matmul: matmul,
    norm.Norm: norm,
    attention.Attention: attention_schedule,
    quantized_attention.QuantizedAttention: quantized_attention_schedule,
    winograd.Winograd: winograd_schedule,
    quantized_gemm.QuantizedGemm: quantized_gemm,
    quantized_conv2d.QuantizedConv2d: quantized_conv2d,
    quantized_depthwise.QuantizedDepthwise: quantized_depthwise,
}


@dataclass
class KernelTable:
    """Names for kernels: a function's attribute `lwc.kernel` is the index of its kernel here."""

    target: Target
    kernels: list[Any] = field(default_factory=list)

    def index(self, kernel: Any) -> int:
        """The index of `kernel`, entered where it is new."""
        if kernel not in self.kernels:
            self.kernels.append(kernel)
        return self.kernels.index(kernel)

    def macs(self, function: tirx.PrimFunc) -> int:
        """The multiply-accumulates of a call of `function`; 0 where it is no template's."""
        attributes = function.attrs or {}
        return int(self.kernels[int(attributes[ATTRIBUTE])].macs) if ATTRIBUTE in attributes else 0

    def schedule(self, function: tirx.PrimFunc) -> tirx.PrimFunc:
        """`function` scheduled by the template that its attribute names, or as a plain one."""
        sch = Schedule(tvm.IRModule({"main": function}))
        if ATTRIBUTE in (function.attrs or {}):
            kernel = self.kernels[int(function.attrs[ATTRIBUTE])]
            _TEMPLATES[type(kernel)].schedule(sch, kernel)
        else:
            plain.schedule(sch, self.target)
        return accumulate_in_dot_products(insert_prefetches(sch.mod["main"]))
