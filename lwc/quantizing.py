"""INT8: ranges are measured on the rewritten program, and its layers become layers on integers.

    float  --quantize, correct biases-->  quantized  --integer passes-->  integer  --lower-->  compiled

`float` is held against the model by the passes' own checks. What rounding does to `quantized`, which is float32 too, is
its quality, not an error; `integer` may differ from `float` by no more than a little above that, and `compiled` is held
against `integer`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx
from torch.utils._pytree import tree_leaves

from lwc.errors import VerificationError
from lwc.graph import MOVES, aten
from lwc.ops.view import named_arguments
from lwc.package.quantization import Quantization
from lwc.package.reference import Reference, Sample, run_reference
from lwc.pipeline import PassRecord, Pipeline, run_pipeline
from lwc.pipeline.registry import INTEGER, make_pass
from lwc.quantize.correct_bias import correct_biases
from lwc.quantize.data import CalibrationData
from lwc.quantize.quantize import quantize
from lwc.trace import Program

# Chooses among float kernels.
FLOAT_ONLY = "select-depthwise-kernel"
_INTEGER_LAYERS = (torch.ops.lwc.qconv2d.default, torch.ops.lwc.qlinear.default)
_ON_INTEGERS = (*_INTEGER_LAYERS, torch.ops.lwc.qmean.default)
_FLOAT_LAYERS = (
    torch.ops.lwc.conv2d.default,
    torch.ops.lwc.linear.default,
    torch.ops.lwc.attention.default,
    aten.bmm.default,
    aten.matmul.default,
)
# How much more noise the integers may have than rounding in float32 has: a factor of the power, 6 dB.
_MORE_NOISE = 4.0
# Of operators on integers those whose arithmetic has one result; the others' exponentials are rounded in several ways.
_EXACT_ACTIVATIONS = ("identity", "hardswish")


@dataclass(frozen=True)
class Quantized:
    """The program before quantization, the one on integers, what the integer passes did, and what to say of it."""

    original: Program
    integer: Program
    records: tuple[PassRecord, ...]
    quantization: Quantization

    def reference(self, samples: list[Sample]) -> Reference:
        """What the compiled program has to give: the integer program's outputs, to the bit where all is integers.

        Where steps are in float32, a number near the middle of two integers may be rounded to either, and what follows
        can make much of it: the limit grows by what quantizing itself changed.
        """
        runs = run_reference(self.integer.module, samples)
        floats = run_reference(self.original.module, samples)
        inexact = has_float_steps(self.integer)
        slack = tuple(
            _distance(single, original) if inexact else 0.0
            for single, original in zip(runs.float32, floats.float32, strict=True)
        )
        exact = tuple(single.astype(np.float64) for single in runs.float32)
        return Reference(exact, tuple(double.astype(np.float32) for double in runs.float64), slack)


def to_integers(program: Program, data: CalibrationData, note: Callable[[str], None]) -> Quantized:
    """`program` on integers, by the ranges of `data`; `note` is told how far the measuring is.

    Raises VerificationError where the integers differ from the program more than rounding explains.
    """
    quantized = quantize(program, data.samples, note)
    correct_biases(quantized, program, data.samples)
    integer, records = run_pipeline(Pipeline(tuple(map(make_pass, INTEGER))), quantized)
    sample = data.samples[0]
    floats, rounded, integers = (_outputs(item, sample) for item in (program, quantized, integer))
    for want, near, got in zip(floats, rounded, integers, strict=True):
        noise, least = _distance(got, want) ** 2, _distance(near, want) ** 2
        if not noise <= _MORE_NOISE * least + 1e-4 * float(np.var(want)):
            raise VerificationError(
                f"int8: the integer program differs from the model by {noise**0.5:.3g} (root mean square), rounding "
                f"explains {least**0.5:.3g}; please report the model"
            )
    targets = [node.target for node in integer.module.graph.nodes]
    described = Quantization(
        calibration=data.source,
        integer_layers=sum(target in _INTEGER_LAYERS for target in targets),
        float_layers=sum(target in _FLOAT_LAYERS for target in targets),
        signal_to_noise_db=tuple(map(signal_to_noise_db, floats, integers)),
    )
    return Quantized(program, integer, records, described)


def has_float_steps(program: Program) -> bool:
    """Whether something in `program` besides its ends computes in float32, or has an exponential."""
    return any(node.op == "call_function" and _is_float_step(node) for node in program.module.graph.nodes)


def _is_float_step(node: fx.Node) -> bool:
    if node.target in _ON_INTEGERS:
        return named_arguments(node).get("activation", "identity") not in _EXACT_ACTIVATIONS
    if node.target in MOVES or node.target is torch.ops.lwc.dequantize.default:
        return False
    value = node.meta.get("val")
    return not isinstance(value, torch.Tensor) or value.is_floating_point()


def signal_to_noise_db(want: NDArray[np.float32], got: NDArray[np.float32]) -> float | None:
    """10 log10 (variance of `want` / mean square of the difference); None where either is zero."""
    signal, noise = float(np.var(want)), _distance(got, want) ** 2
    return 10 * math.log10(signal / noise) if signal and noise else None


def _outputs(program: Program, sample: tuple[torch.Tensor, ...]) -> list[NDArray[np.float32]]:
    with torch.no_grad():
        return [output.numpy() for output in tree_leaves(program.module(*sample))]


def _distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The root of the mean square of the difference."""
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))
