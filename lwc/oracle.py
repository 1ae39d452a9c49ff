"""The measure of every result: PyTorch in float64, and how far PyTorch's own float32 is from it."""

from copy import deepcopy

import torch

# How much larger than PyTorch's float32 error ours may be, and an absolute allowance.
FACTOR, ALLOWANCE = 2.0, 1e-6


def in_float64(module: torch.nn.Module) -> torch.nn.Module:
    """A copy whose parameters, buffers and other tensors are float64."""
    double = deepcopy(module).double()
    for part in double.modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
                setattr(part, name, value.double())
    return double
