"""From a PyTorch module to a Program: a functional graph of ATen operators with static shapes."""

import warnings
from dataclasses import dataclass

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from lwc.errors import UnsupportedError
from lwc.graph import RESHAPES
from lwc.targets.target import Target


@dataclass(frozen=True)
class Program:
    """A graph that runs in PyTorch as it is, in float32 and (after `module.double()`) in float64.

    Parameters and constants are `get_attr` nodes; every other node calls an operator of `aten` or `lwc`.
    `inputs` are example inputs; each node's `meta["val"]` holds its shape and dtype.
    `target` is the machine that it is compiled for, None where no one has said.
    `samples` are inputs that a user gave to measure on; there may be none.
    """

    module: fx.GraphModule
    inputs: tuple[torch.Tensor, ...]
    input_names: tuple[str, ...]
    target: Target | None = None
    samples: tuple[tuple[torch.Tensor, ...], ...] = ()


def trace(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], input_names: tuple[str, ...]) -> Program:
    """Trace `module` (in eval mode) on `inputs`, in-place operations made functional.

    Raises UnsupportedError where torch.export cannot make one static graph of the module.
    """
    kind = type(module).__name__
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            exported = torch.export.export(module, inputs).run_decompositions({})
            graph_module = exported.module(check_guards=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UnsupportedError(
            f"{kind}: torch.export cannot make one static graph of it ({reason}); "
            "remove data-dependent control flow and dynamic shapes"
        ) from error
    for name in _mutated(exported):
        raise UnsupportedError(
            f"{kind}: it writes into {name!r}, which must stay as it is from call to call; "
            "return the new value, or put the module in eval mode"
        )
    for name in _dynamic(exported.graph):
        raise UnsupportedError(f"{kind}: the shape of {name!r} depends on the data; make it fixed")
    assert isinstance(graph_module, fx.GraphModule)
    _drop_type_checks(graph_module)
    _reshape_for_view(graph_module)
    return Program(graph_module, inputs, input_names)


def _mutated(exported: torch.export.ExportedProgram) -> list[str]:
    """The parameters, buffers and inputs that the module writes into."""
    signature = exported.graph_signature
    return [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]


def _dynamic(graph: fx.Graph) -> list[str]:
    """The nodes whose tensors have no fixed shape."""
    return [
        node.name
        for node in graph.nodes
        if any(
            not isinstance(extent, int)
            for value in tree_leaves(node.meta.get("val"))
            if isinstance(value, torch.Tensor)
            for extent in value.shape
        )
    ]


def _drop_type_checks(module: fx.GraphModule) -> None:
    """What torch.export checks before each cast is known here, and would not hold in float64."""
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
    module.recompile()


def _reshape_for_view(module: fx.GraphModule) -> None:
    """A view exists for some layouts in memory only, which passes change; a reshape always does."""
    for node in module.graph.nodes:
        if node.target in RESHAPES:
            node.target = torch.ops.aten.reshape.default
    module.recompile()
