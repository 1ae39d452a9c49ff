"""From a PyTorch module to a Program: a functional graph of ATen operators with static shapes."""

import warnings
from dataclasses import dataclass

import torch
from torch import fx

from lwc.errors import UnsupportedError


@dataclass(frozen=True)
class Program:
    """A graph that runs in PyTorch as it is, in float32 and (after `module.double()`) in float64.

    Parameters and constants are `get_attr` nodes; every other node calls an operator of `aten` or `lwc`.
    `inputs` are example inputs; each node's `meta["val"]` holds its shape and dtype.
    """

    module: fx.GraphModule
    inputs: tuple[torch.Tensor, ...]
    input_names: tuple[str, ...]


def trace(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], input_names: tuple[str, ...]
) -> Program:
    """Trace `module` (in eval mode) on `inputs`, in-place operations made functional.

    Raises UnsupportedError where torch.export cannot make one static graph of the module.
    """
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            exported = torch.export.export(module, inputs).run_decompositions({})
            graph_module = exported.module(check_guards=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UnsupportedError(
            f"{type(module).__name__}: torch.export cannot make one static graph of it ({reason}); "
            "remove data-dependent control flow and dynamic shapes"
        ) from error
    assert isinstance(graph_module, fx.GraphModule)
    return Program(graph_module, inputs, input_names)
