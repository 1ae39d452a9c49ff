"""INT8: ranges are measured on the rewritten program, and its layers become layers on integers.

    float  --equalize, quantize, correct biases-->  rounded  --integer passes-->  integer  --border-->  compiled

`float` is held against the model by the passes' own checks. What rounding does to `rounded`, which is float32 too, is
its quality, not an error; `integer` may differ from `float` by no more than a little above that. `compiled` has float32
or integers at its border; the library is held against it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from lwc.errors import VerificationError
from lwc.graph import MOVES, aten
from lwc.package.quantization import Quantization
from lwc.package.reference import Reference, Sample, run_reference
from lwc.package.steps import dequantize
from lwc.pipeline import PassRecord, Pipeline, run_pipeline
from lwc.pipeline.registry import INTEGER, make_pass
from lwc.pipeline.run import apply_pass, snapshot
from lwc.pipeline.shapes import Shapes
from lwc.quantize.border import Bordered, float_io, integer_io
from lwc.quantize.choices import DEFAULT_RULES, Rules
from lwc.quantize.data import CalibrationData
from lwc.quantize.equalize import quantize_best
from lwc.quantize.layers import restore_float
from lwc.quantize.noise import layer_noise, signal_to_noise_db, spread, stacked_outputs
from lwc.trace import Program

# Chooses among float kernels: last, when it is known which layers stay in float32.
FLOAT_ONLY = "select-depthwise-kernel"
_ON_INTEGERS = (
    torch.ops.lwc.qconv2d.default,
    torch.ops.lwc.qlinear.default,
    torch.ops.lwc.qmean.default,
    torch.ops.lwc.rescale.default,
)
# Attention has a softmax in float32.
_INTEGER_LAYERS = (*_ON_INTEGERS[:2], torch.ops.lwc.qattention.default)
_FLOAT_LAYERS = (
    torch.ops.lwc.conv2d.default,
    torch.ops.lwc.linear.default,
    torch.ops.lwc.attention.default,
    aten.bmm.default,
    aten.matmul.default,
)
# How much more noise the integers may have than rounding in float32 has: a factor of the power, 6 dB.
_MORE_NOISE = 4.0
# What dequantized numbers go through as they are.
_PICKS = (*MOVES, aten.max_pool2d.default)


@dataclass(frozen=True)
class Quantized:
    """A program before quantization, rounded but in float32, and on integers.

    And by which rules, what the integer passes did, and what to say of it. Of a model that was quantized before,
    `original` is the one with borderline numbers moved: it, too, is as far from the integers as roundings may take
    them. `integer` is float32 at its border; `compiled` is what the library computes, of integers there, too, where
    they are asked for.
    """

    original: Program
    rounded: Program
    integer: Program
    rules: Rules
    records: tuple[PassRecord, ...]
    quantization: Quantization
    compiled: Bordered

    def reference(self, samples: list[Sample]) -> Reference:
        """What the compiled program has to give: the integer program's outputs, to the bit where all is integers.

        Where steps are in float32, a number near the middle of two integers may be rounded to either, and what follows
        can make much of it: the limit grows by what quantizing itself changed. Of outputs that are integers, errors
        and limit are in their steps.
        """
        runs = run_reference(self.compiled.program.module, samples)
        inexact = has_float_steps(self.compiled.program)
        slack = self._distances(samples, runs) if inexact else (0.0,) * len(runs.float32)
        exact = tuple(single.astype(np.float64) for single in runs.float32)
        return Reference(exact, tuple(double.astype(np.float32) for double in runs.float64), slack)

    def _distances(self, samples: list[Sample], runs: Reference) -> tuple[float, ...]:
        """How far each output of `runs` is from that of the program before quantization, in steps."""
        real = [tuple(map(dequantize, sample, self.compiled.inputs)) for sample in samples]
        floats = run_reference(self.original.module, real).float32
        found = zip(runs.float32, floats, self.compiled.outputs, strict=True)
        return tuple(distance(dequantize(y, steps), want) / steps.scale for y, want, steps in found)


def to_integers(
    program: Program, data: CalibrationData, note: Callable[[str], None], rules: Rules = DEFAULT_RULES
) -> Quantized:
    """`program` on integers, by the ranges of `data` and `rules`; `note` is told how far the measuring is.

    Raises VerificationError where the integers differ from the program more than rounding explains, and for integers
    at its border UnsupportedError where an input or an output has no range.
    """
    program, rounded, equalized = quantize_best(program, data.samples, note, rules)
    return _lowered(program, rounded, data, rules, equalized)


def with_float_kernels(program: Program) -> tuple[Program, PassRecord]:
    """`program` with the best kernel for each depthwise convolution in float32, and what was chosen.

    Each layer keeps a kernel of its own, so that it can be timed.
    """
    chosen = snapshot(program)
    return chosen, apply_pass(make_pass(FLOAT_ONLY, {"join": "false"}), chosen, Shapes())


def with_float_layers(quantized: Quantized, layers: Collection[str], data: CalibrationData) -> Quantized:
    """`quantized`, by the ranges of `data`, with `layers` in float32 again. Raises as `to_integers` does."""
    integer = quantized.rules.io == "int8"
    rounded = restore_float(quantized.rounded, quantized.original, layers, integer)
    equalized = quantized.quantization.equalized_tensors
    return _lowered(quantized.original, rounded, data, quantized.rules, equalized)


def _lowered(
    program: Program, rounded: Program, data: CalibrationData, rules: Rules, equalized: int
) -> Quantized:
    integer, records = lower_to_integers(rounded)
    samples = spread(data.samples)
    floats, integers = _checked(program, rounded, integer, samples)
    more = {
        "observer": rules.observer,
        "equalized_tensors": equalized,
        "noise_samples": len(samples),
        "layers": layer_noise(program, rounded, samples),
    }
    described = describe(integer, data.source, floats, integers).model_copy(update=more)
    compiled = integer_io(integer) if rules.io == "int8" else float_io(integer)
    return Quantized(program, rounded, integer, rules, records, described, compiled)


def lower_to_integers(rounded: Program) -> tuple[Program, tuple[PassRecord, ...]]:
    """The integer program, and what the passes did to it."""
    lowered, records = run_pipeline(Pipeline(tuple(map(make_pass, INTEGER))), rounded)
    integer, chosen = with_float_kernels(lowered)
    return integer, (*records, chosen)


def describe(
    integer: Program, source: str, want: Sequence[NDArray[np.float32]], got: Sequence[NDArray[np.float32]]
) -> Quantization:
    """What to say of `integer`, whose outputs are `got` where they should be `want`; `source` is the calibration."""
    targets = [node.target for node in integer.module.graph.nodes]
    return Quantization(
        calibration=source,
        integer_layers=sum(target in _INTEGER_LAYERS for target in targets),
        float_layers=sum(target in _FLOAT_LAYERS for target in targets),
        signal_to_noise_db=tuple(map(signal_to_noise_db, want, got)),
    )


def _checked(
    program: Program, rounded: Program, integer: Program, samples: Sequence[tuple[torch.Tensor, ...]]
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """The outputs of `program` and of `integer` on `samples`, along a new first axis.

    Raises VerificationError where they differ more than the rounding in `rounded` explains: over all samples, as on
    a single one the noise of a few outputs varies widely.
    """
    floats, near, integers = (stacked_outputs(item.module, samples) for item in (program, rounded, integer))
    for want, close, got in zip(floats, near, integers, strict=True):
        noise, least = distance(got, want) ** 2, distance(close, want) ** 2
        if not noise <= _MORE_NOISE * least + 1e-4 * float(np.var(want)):
            raise VerificationError(
                f"int8: the integer program differs from the model by {noise**0.5:.3g} (root mean square), rounding "
                f"explains {least**0.5:.3g}; please report the model"
            )
    return floats, integers


def has_float_steps(program: Program) -> bool:
    """Whether something in `program` besides its ends computes in float32: compilers may round it in several ways."""
    return any(node.op == "call_function" and _is_float_step(node) for node in program.module.graph.nodes)


def _is_float_step(node: fx.Node) -> bool:
    if node.target in (*_ON_INTEGERS, *_PICKS, torch.ops.lwc.dequantize.default):
        return False
    value = node.meta.get("val")
    return not isinstance(value, torch.Tensor) or value.is_floating_point()


def distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The root of the mean square of the difference."""
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))
