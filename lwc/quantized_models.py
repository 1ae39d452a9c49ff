"""INT8 of a model that was quantized before, after its training or in it: its own scales and zero points stay.

The model is the reference: what it computes in float32 between its roundings, the integer program has to give, but for
numbers that lie on the border of two steps.
"""

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from lwc.errors import VerificationError
from lwc.oracle import ALLOWANCE, FACTOR
from lwc.package.quantization import OWN_RANGES
from lwc.package.reference import sample_count, variations
from lwc.quantize.border import float_io
from lwc.quantize.borderline import nudged
from lwc.quantize.choices import DEFAULT_RULES
from lwc.quantize.noise import stacked_outputs
from lwc.quantizing import Quantized, describe, distance, lower_to_integers
from lwc.rewriting import one_thread
from lwc.trace import Program

# How far the integers of a model that was quantized before may be from it, in any case: parts of the deviation, 60 dB.
_NEAR = 1e-3


def lower_quantized(program: Program, module: torch.nn.Module) -> Quantized:
    """`program`, which is `module` with scales and zero points of its own, on integers.

    Raises VerificationError where the integers differ from the module by more than other roundings of borderline
    numbers explain.
    """
    integer, records = lower_to_integers(program)
    smallest = min(output.numel() for output in tree_leaves(program.module(*program.inputs)))
    stored = tuple(tensor.numpy() for tensor in program.inputs)
    samples = [tuple(map(torch.from_numpy, sample)) for sample in variations(stored, sample_count(smallest))]
    loose = nudged(program)
    with one_thread():
        want, near, got = (stacked_outputs(item, samples) for item in (module, loose.module, integer.module))
    for wanted, moved, found in zip(want, near, got, strict=True):
        limit = FACTOR * distance(moved, wanted) + _NEAR * float(np.std(wanted)) + ALLOWANCE
        if not (error := distance(found, wanted)) <= limit:
            raise VerificationError(
                f"int8: the integer program differs from the quantized model by {error:.3g} (root mean square),"
                f" borderline numbers explain {limit:.3g}; please report the model"
            )
    described = describe(integer, OWN_RANGES, want, got)
    return Quantized(loose, program, integer, DEFAULT_RULES, records, described, float_io(integer))
