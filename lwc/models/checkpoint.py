"""Weights out of a .safetensors file into a module: every tensor, of the right shape, and finite."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from lwc.errors import BadInputError
from lwc.files import one_line, open_regular

# Thirty times the largest model of the zoo.
MAX_BYTES = 2 * 1024**3
# Written by some versions of transformers, and computed anew by others.
_OPTIONAL = ("num_batches_tracked", "attention_bias_idxs")


def load_checkpoint(module: nn.Module, path: Path) -> None:
    """Copy the tensors of the .safetensors file `path` into `module`, converted to its dtypes, in place.

    Raises BadInputError, naming the first offending tensor, where one is missing, unknown, of another shape,
    or holds NaN, infinity or a negative variance.
    """
    given, expected = _read(path), module.state_dict()
    for name in sorted(expected.keys() - given.keys()):
        if not name.endswith(_OPTIONAL):
            raise BadInputError(f"{path}: lacks the tensor {name}; give this model's own weights")
    for name in sorted(given.keys() - expected.keys()):
        if not name.endswith(_OPTIONAL):
            raise BadInputError(f"{path}: has the unknown tensor {name:.200}; give this model's own weights")
    for name in sorted(expected.keys() & given.keys()):
        _check_tensor(path, name, given[name], expected[name])
    module.load_state_dict({name: given.get(name, tensor) for name, tensor in expected.items()})


def _read(path: Path) -> dict[str, torch.Tensor]:
    with open_regular(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BadInputError(f"{path}: has more than {MAX_BYTES} bytes; lwc compiles lightweight models")
    try:
        # From memory: a file that is mapped and then truncated kills the process.
        return load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise BadInputError(f"{path}: is not a safetensors file ({one_line(error)}); save it again") from None


def _check_tensor(path: Path, name: str, given: torch.Tensor, expected: torch.Tensor) -> None:
    if given.shape != expected.shape:
        raise BadInputError(
            f"{path}: {name} has shape {tuple(given.shape)}, not {tuple(expected.shape)}; "
            "width, image size or number of labels differ"
        )
    if given.is_floating_point() != expected.is_floating_point():
        raise BadInputError(f"{path}: {name} is {given.dtype}, not {expected.dtype}; convert it to float32")
    if not given.float().isfinite().all():
        raise BadInputError(f"{path}: {name} holds NaN or infinity; train or convert the model again")
    if name.endswith("running_var") and (given < 0).any():
        raise BadInputError(f"{path}: {name} holds a negative variance; train or convert the model again")
