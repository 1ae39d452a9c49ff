"""Cross-layer equalisation, where it makes the quantized program better."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lwc.pipeline import Pipeline, make_pass, run_pipeline
from lwc.pipeline.verify import Verifier
from lwc.quantize.choices import Rules
from lwc.quantize.correct_bias import correct_biases
from lwc.quantize.noise import spread, stacked_outputs
from lwc.quantize.quantize import Sample, quantize
from lwc.trace import Program

_PASS = "equalize-channels"
# Of the noise that is left: half, 3 dB. On the samples that it was fitted to, a little less noise is chance.
_WORTH = 0.5
# Samples that the two are compared on.
_COMPARED = 32


def quantize_best(
    program: Program, samples: Sequence[Sample], note: Callable[[str], None], rules: Rules
) -> tuple[Program, Program, int]:
    """`program` with its channels equalized where that halves the noise, its quantized form, and in how many tensors.

    The noise is the sum over the outputs of the mean square of the difference to `program`, in parts of the output's
    variance, on up to 32 of the samples. Raises VerificationError where equalizing changes what the program gives.
    """
    quantized = _quantize(program, samples, note, rules)
    measured = replace(program, samples=tuple(samples))
    equalized, (record,) = run_pipeline(Pipeline((make_pass(_PASS),)), measured, (Verifier(measured),))
    if record.count == 0:
        return program, quantized, 0
    other = _quantize(equalized, samples, lambda text: note(f"equalized: {text}"), rules)
    compared = spread(samples, _COMPARED)
    if _noise(other, program, compared) > _WORTH * _noise(quantized, program, compared):
        return program, quantized, 0
    return equalized, other, record.count


def _quantize(
    program: Program, samples: Sequence[Sample], note: Callable[[str], None], rules: Rules
) -> Program:
    quantized = quantize(program, samples, note, rules)
    correct_biases(quantized, program, samples)
    return quantized


def _noise(quantized: Program, program: Program, samples: Sequence[Sample]) -> float:
    got, want = (stacked_outputs(item.module, samples) for item in (quantized, program))
    return sum(
        float(np.mean((a.astype(np.float64) - b) ** 2)) / max(float(np.var(b, dtype=np.float64)), 1e-30)
        for a, b in zip(got, want, strict=True)
    )
