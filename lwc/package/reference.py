"""What PyTorch makes of a model's samples: the measure that a library is held against."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lwc.errors import UnsupportedError
from lwc.files import one_line
from lwc.oracle import in_float64
from lwc.package.steps import Elements

# The arrays for a model's inputs.
Sample = tuple[Elements, ...]

# The errors of fewer numbers scatter so much that right code could seem wrong.
_ENOUGH_NUMBERS = 1000
_MAX_SAMPLES = 8


@dataclass(frozen=True)
class Reference:
    """A model's outputs for some samples, the samples along the first axis, in float64 and in float32.

    Of a model in FP16, `float32` is what PyTorch gives in float16.
    `slack`: of a quantized model, what each output's error may be beyond the rule; None of one in float32.
    """

    float64: tuple[NDArray[np.float64], ...]
    float32: tuple[NDArray[np.float32], ...]
    slack: tuple[float, ...] | None = None


def run_reference(module: torch.nn.Module, samples: Sequence[Sample]) -> Reference:
    """Run `module` (float32) on each of `samples`, and a copy of it in float64; integers stay what they are.

    Raises UnsupportedError where PyTorch cannot run the copy.
    """
    tensors = [[torch.from_numpy(array) for array in sample] for sample in samples]
    float32 = outputs_of(module, tensors)
    try:
        doubles = [[_in_float64(tensor) for tensor in sample] for sample in tensors]
        double = outputs_of(in_float64(module), doubles)
    except RuntimeError as error:
        raise UnsupportedError(
            f"{type(module).__name__}: PyTorch cannot run it in float64, against which lwc verifies"
            f" ({one_line(error)}); make constants buffers, and leave casts to float32 out"
        ) from error
    return Reference(double, float32)


def _in_float64(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def outputs_of(
    module: torch.nn.Module, samples: Sequence[Sequence[torch.Tensor]]
) -> tuple[NDArray[Any], ...]:
    """What `module` gives for each of `samples`, these along the first axis."""
    results = []
    for sample in samples:
        with torch.no_grad():
            result = module(*sample)
        results.append(result if isinstance(result, tuple | list) else (result,))
    return tuple(
        # A transposed tensor would give a transposed stack.
        np.stack([np.array(tensor.detach().numpy(), order="C") for tensor in output])
        for output in zip(*results, strict=True)
    )


def sample_count(elements: int) -> int:
    """How many samples tell the error of an output of `elements` numbers: one, or more of a small output."""
    return min(_MAX_SAMPLES, -(-_ENOUGH_NUMBERS // max(1, elements)))


def variations(sample: Sample, count: int) -> list[Sample]:
    """`sample`, and further ones like it up to `count`: moved along the last axis, around its end."""
    return [tuple(_moved(array, step, count) for array in sample) for step in range(count)]


def _moved(array: Elements, step: int, count: int) -> Elements:
    return np.roll(array, step * array.shape[-1] // count, axis=-1) if array.ndim else array
