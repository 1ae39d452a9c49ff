"""From a Program in the lwc vocabulary to a Relax module whose heavy kernels are our templates."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from lwc.errors import UnsupportedError
from lwc.lower.convert import Converter
from lwc.lower.kernel import KernelTable
from lwc.targets.target import Target
from lwc.trace import Program
from lwc.tvm_api import from_exported_program, importer_operators, tvm

_MULTIPLE_RESULTS = "<built-in function getitem>"


def import_program(program: Program, target: Target) -> tuple[tvm.IRModule, KernelTable]:
    """The Relax module of `program` and the kernels that its functions with attribute `lwc.kernel` name.

    Raises UnsupportedError naming the operator and its source line where TVM has no importer for it.
    """
    exported = _export(program)
    constants = _constants(exported)
    kernels = KernelTable(target)
    converter = Converter(constants, kernels)
    _check_operators(exported.graph_module.graph, set(converter.convert_map))
    module = from_exported_program(
        exported,
        custom_convert_map=converter.convert_map,
        run_ep_decomposition=False,
        unwrap_unit_return_tuple=False,
    )
    return module, kernels


def _export(program: Program) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported: torch.export.ExportedProgram = torch.export.export(program.module, program.inputs)
        decomposed: torch.export.ExportedProgram = exported.run_decompositions(_decompositions())
    return decomposed


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """PyTorch's table without the operators that TVM imports whole."""
    whole = importer_operators()
    table: dict[Any, Callable[..., Any]] = dict(torch.export.default_decompositions())
    return {
        operator: rule
        for operator, rule in table.items()
        if _name(operator) not in whole and operator.namespace == "aten"
    }


def _name(operator: Any) -> str:
    """The importer's key: `conv2d.default`."""
    return str(operator.__name__) if operator.__name__.count(".") else f"{operator.__name__}.default"


def _check_operators(graph: fx.Graph, own: set[str]) -> None:
    known = importer_operators() | own
    for node in graph.nodes:
        if node.op != "call_function" or str(node.target) == _MULTIPLE_RESULTS:
            continue
        if _name(node.target) not in known:
            raise UnsupportedError(
                f"operator {node.target} ({_source(node)}): lwc cannot compile it; "
                "replace it in the model by supported operators"
            )


def _source(node: fx.Node) -> str:
    """Where the model's own code calls the operator, as far as the trace recorded it."""
    lines = [line.strip() for line in (node.stack_trace or "").splitlines()]
    places = [line for line in lines if line.startswith("File ")]
    return places[-1].removeprefix("File ") if places else f"node {node.name}"


def _constants(exported: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """The tensor behind each placeholder that is a parameter, a buffer or a constant."""
    values: dict[str, torch.Tensor] = {}
    for spec in exported.graph_signature.input_specs:
        if spec.target is None:
            continue
        value = exported.state_dict.get(spec.target, exported.constants.get(spec.target))
        if isinstance(value, torch.Tensor):
            values[spec.arg.name] = value.detach()
    return values
