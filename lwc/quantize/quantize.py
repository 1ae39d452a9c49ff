"""From a float program to one with quantize and dequantize nodes, by ranges measured on samples."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import torch

from lwc.quantize.choices import DEFAULT_RULES, Rules
from lwc.quantize.raise_quantization import raise_quantized
from lwc.trace import Program

Sample = tuple[torch.Tensor, ...]


def quantize(
    program: Program, samples: Sequence[Sample], note: Callable[[str], None], rules: Rules = DEFAULT_RULES
) -> Program:
    """`program` with `lwc::quantize`, `lwc::dequantize` and `lwc::dequantize_weight`, ranges measured on `samples`.

    With integers at its border, its inputs are quantized before anything reads them, and its outputs, too. Activations
    are of the type that the target multiplies fastest. `note` is told how far the measuring is.
    """
    with _quiet():
        # Takes seconds to import.
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        from lwc.quantize.quantizer import LwcQuantizer

        observed = prepare_pt2e(deepcopy(program.module), LwcQuantizer(rules))
        with torch.no_grad():
            for number, sample in enumerate(samples, start=1):
                note(f"sample {number} of {len(samples)}")
                observed(*sample)
        converted = convert_pt2e(observed)
    return raise_quantized(replace(program, module=converted))


@contextmanager
def _quiet() -> Iterator[None]:
    """torchao tells, as it is imported, of GPU libraries that are not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
