"""The kernel templates of a target: for processors, or for GPUs."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

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
from lwc.targets.kernels.cuda import attention as cuda_attention
from lwc.targets.kernels.cuda import attention_schedule as cuda_attention_schedule
from lwc.targets.kernels.cuda import conv2d as cuda_conv2d
from lwc.targets.kernels.cuda import depthwise as cuda_depthwise
from lwc.targets.kernels.cuda import gemm as cuda_gemm
from lwc.targets.kernels.cuda import matmul as cuda_matmul
from lwc.targets.kernels.cuda import norm as cuda_norm
from lwc.targets.kernels.cuda import plain as cuda_plain
from lwc.targets.kernels.cuda import quantized_attention as cuda_quantized_attention
from lwc.targets.kernels.cuda import quantized_conv2d as cuda_quantized_conv2d
from lwc.targets.kernels.cuda import quantized_depthwise as cuda_quantized_depthwise
from lwc.targets.kernels.cuda import quantized_gemm as cuda_quantized_gemm
from lwc.targets.kernels.cuda import separable as cuda_separable
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, tirx


@dataclass(frozen=True)
class Templates:
    """The module of each template; `winograd` is None where dense convolutions have no second one.

    `schedules` gives the module that schedules each class of kernels, and `plain` schedules what has no template;
    `finish` is done to each function after that.
    """

    gemm: ModuleType
    conv2d: ModuleType
    depthwise: ModuleType
    separable: ModuleType
    matmul: ModuleType
    attention: ModuleType
    norm: ModuleType
    quantized_gemm: ModuleType
    quantized_conv2d: ModuleType
    quantized_depthwise: ModuleType
    quantized_attention: ModuleType
    winograd: ModuleType | None
    schedules: dict[type, ModuleType]
    plain: Callable[[Schedule, Target], None]
    finish: Callable[[tirx.PrimFunc], tirx.PrimFunc]


def templates_of(target: Target) -> Templates:
    """Those whose kernels run on `target`."""
    return _PROCESSOR if target.gpu is None else _GPU


def _for_processor(function: tirx.PrimFunc) -> tirx.PrimFunc:
    return accumulate_in_dot_products(insert_prefetches(function))


def _unchanged(function: tirx.PrimFunc) -> tirx.PrimFunc:
    return function


_PROCESSOR = Templates(
    gemm,
    conv2d,
    depthwise,
    separable,
    matmul,
    attention,
    norm,
    quantized_gemm,
    quantized_conv2d,
    quantized_depthwise,
    quantized_attention,
    winograd,
    {
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
    },
    plain.schedule,
    _for_processor,
)

_GPU = Templates(
    cuda_gemm,
    cuda_conv2d,
    cuda_depthwise,
    cuda_separable,
    cuda_matmul,
    cuda_attention,
    cuda_norm,
    cuda_quantized_gemm,
    cuda_quantized_conv2d,
    cuda_quantized_depthwise,
    cuda_quantized_attention,
    None,
    {
        cuda_gemm.Gemm: cuda_gemm,
        cuda_conv2d.Conv2d: cuda_conv2d,
        cuda_depthwise.Depthwise: cuda_depthwise,
        cuda_separable.Separable: cuda_separable,
        cuda_matmul.Matmul: cuda_matmul,
        cuda_norm.Norm: cuda_norm,
        cuda_attention.Attention: cuda_attention_schedule,
        cuda_quantized_attention.QuantizedAttention: cuda_quantized_attention,
        cuda_quantized_gemm.QuantizedGemm: cuda_quantized_gemm,
        cuda_quantized_conv2d.QuantizedConv2d: cuda_quantized_conv2d,
        cuda_quantized_depthwise.QuantizedDepthwise: cuda_quantized_depthwise,
    },
    cuda_plain.schedule,
    _unchanged,
)
