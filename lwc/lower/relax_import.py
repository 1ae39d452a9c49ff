"""From a Program in the lwc vocabulary to a Relax module whose heavy kernels are our templates."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch._decomp import decomposition_table

from lwc.errors import LwcError, UnsupportedError
from lwc.files import one_line
from lwc.lower.choose import Choose, as_planned
from lwc.lower.convert import Converter, converters
from lwc.lower.kernel import KernelTable
from lwc.ops.view import named_arguments
from lwc.targets.target import Target
from lwc.trace import Program
from lwc.tvm_api import from_exported_program, importer_operators, tvm

_MULTIPLE_RESULTS = "<built-in function getitem>"

# What TVM 0.27 imports wrongly, so that it is decomposed or refused.
_WRONG_IN_TVM = frozenset(
    {
        "upsample_nearest2d.vec",  # rounds to other pixels
        "_upsample_bilinear2d_aa.default",  # leaves the antialiasing out
        "pixel_shuffle.default",  # calls a function that is gone
        "grid_sampler_2d.default",  # fails for grids that are not square
        "std.correction",  # leaves the correction out
        # Calls of functions in TVM's runtime, which a library does not hold:
        "argsort.default",
        "cumprod.default",
        "cumsum.default",
        "masked_select.default",
        "median.default",
        "median.dim",
        "sort.default",
        "topk.default",
    }
)


def import_program(
    program: Program, target: Target, choose: Choose = as_planned
) -> tuple[tvm.IRModule, KernelTable]:
    """The Relax module of `program` and the kernels that its functions with attribute `lwc.kernel` name.

    Raises UnsupportedError naming the operator and its source line where TVM has no importer for it.
    """
    exported = _export(program)
    constants = _constants(exported)
    kernels = KernelTable(target)
    own = converters(constants, kernels, _originals(program, exported), choose)
    _check_operators(exported.graph_module.graph, set(own))
    module = from_exported_program(
        exported,
        custom_convert_map=_guarded(own),
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
    whole = _importable()
    table: dict[Any, Callable[..., Any]] = dict(torch.export.default_decompositions())
    nearest = torch.ops.aten.upsample_nearest2d.vec
    table[nearest] = decomposition_table[nearest]
    return {
        operator: rule
        for operator, rule in table.items()
        if _name(operator) not in whole and operator.namespace == "aten"
    }


def _name(operator: Any) -> str:
    """The importer's key: `conv2d.default`."""
    return str(operator.__name__) if operator.__name__.count(".") else f"{operator.__name__}.default"


def _importable() -> frozenset[str]:
    return importer_operators() - _WRONG_IN_TVM


def _guarded(own: dict[str, Converter]) -> dict[str, Converter]:
    """A converter for every operator, lwc's `own` before TVM's; one that fails names its operator."""

    def guard(key: str) -> Converter:
        def convert(node: fx.Node, importer: Any) -> Any:
            try:
                return own[key](node, importer) if key in own else importer.create_convert_map()[key](node)
            except LwcError:
                raise
            except Exception as error:
                raise UnsupportedError(
                    f"operator {node.target} ({_source(node)}): lwc cannot compile it in this form"
                    f" ({one_line(error)}); replace it in the model"
                ) from error

        return convert

    return {key: guard(key) for key in {*own, *_importable()}}


def _check_operators(graph: fx.Graph, own: set[str]) -> None:
    known = _importable() | own
    for node in graph.nodes:
        if node.op != "call_function" or str(node.target) == _MULTIPLE_RESULTS:
            continue
        if _is_random(node):
            raise UnsupportedError(
                f"operator {node.target} ({_source(node)}): its result is random; put the model in eval mode"
            )
        if _name(node.target) not in known:
            raise UnsupportedError(
                f"operator {node.target} ({_source(node)}): lwc cannot compile it; "
                "replace it in the model by supported operators"
            )


def _is_random(node: fx.Node) -> bool:
    """Whether two runs may differ: attention, for one, only where its dropout is not zero."""
    if torch.Tag.nondeterministic_seeded not in node.target.tags:  # type: ignore[union-attr]
        return False
    arguments = named_arguments(node)
    return bool(arguments.get("dropout_p", arguments.get("dropout", 1)))


def _source(node: fx.Node) -> str:
    """Where the model's own code calls the operator, as far as the trace recorded it."""
    lines = [line.strip() for line in (node.stack_trace or "").splitlines()]
    places = [line for line in lines if line.startswith("File ")]
    return places[-1].removeprefix("File ") if places else f"node {node.name}"


def _originals(program: Program, exported: torch.export.ExportedProgram) -> dict[str, fx.Node]:
    """The program's own node for each of `exported`, by its name, that exporting keeps as it is, and in its order."""
    ours, theirs = (_kept_calls(graph) for graph in (program.module.graph, exported.graph_module.graph))
    if [node.target for node in ours] != [node.target for node in theirs]:
        return {}
    return {after.name: before for before, after in zip(ours, theirs, strict=True)}


def _kept_calls(graph: fx.Graph) -> list[fx.Node]:
    """The calls of lwc's operators, and of layer normalisation."""
    calls = [node for node in graph.nodes if node.op == "call_function"]
    kept = torch.ops.aten.layer_norm.default
    return [node for node in calls if node.target is kept or getattr(node.target, "namespace", "") == "lwc"]


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
