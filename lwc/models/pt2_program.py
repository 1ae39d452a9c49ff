"""The program in a .pt2 file: checked as JSON for what only tensors and ATen operators need, then built.

The JSON can name any attribute of torch as a function to call, modules to import and expressions to evaluate.
What is let through names none of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators of quantized programs
from torch._export.serde import schema
from torch._export.serde.serialize import ExportedProgramDeserializer, _dict_to_dataclass
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

import lwc.ops  # noqa: F401  registers lwc's
from lwc.errors import BadInputError, LwcError, UnsupportedError
from lwc.files import one_line
from lwc.models.pt2_archive import Archive

_MAX_NODES = 20_000
_AGAIN = "export the model again with torch.export.save of torch 2.13"
# Kinds of values that are evaluated, or hold what is no tensor of the graph.
_REFUSED = {
    "as_expr": "dynamic shapes",
    "as_graph": "control flow",
    "as_custom_obj": "custom objects",
    "as_operator": "operators as arguments",
    "as_string_to_argument": "dictionaries as arguments",
}
# All of them of PyTorch's operators, of lwc's those that a traced program may have.
_OPERATORS = {
    "aten": None,
    "quantized_decomposed": None,
    "lwc": ("quantize", "dequantize", "dequantize_weight"),
}
_INPUT_KINDS = ("user_input", "parameter", "buffer", "tensor_constant")
# Operators of aten that open files, or lay a tensor over memory anew.
_REFUSED_OPERATORS = (
    "from_file",
    "set_",
    "as_strided",
    "as_strided_",
    "resize",
    "resize_",
    "_resize_output_",
)


def build_program(path: Path, archive: Archive) -> ExportedProgram:
    """The exported program in `archive`; `path` names it in errors.

    Raises UnsupportedError for constructs that lwc does not compile, BadInputError for a malformed program.
    """
    try:
        program = _checked(path, archive.program)
        serialized = _dict_to_dataclass(schema.ExportedProgram, program)  # type: ignore[no-untyped-call]
        state = dict(archive.state)
        for spec in program["graph_module"]["signature"]["input_specs"]:
            if "parameter" in spec:
                name = spec["parameter"]["parameter_name"]
                state[name] = torch.nn.Parameter(state[name], requires_grad=False)
        return ExportedProgramDeserializer().deserialize(serialized, state, archive.constants)
    except LwcError:
        raise
    # The deserializer asserts, indexes and looks up whatever the file says.
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise BadInputError(f"{path}: holds no valid program ({reason}); {_AGAIN}") from None


def _checked(path: Path, program: dict[str, Any]) -> dict[str, Any]:
    """`program` without the parts that torch would import, evaluate or unpickle."""
    version = program["schema_version"]["major"]
    if version != schema.SCHEMA_VERSION[0]:
        raise UnsupportedError(
            f"{path}: has schema version {version!r:.20}, not {schema.SCHEMA_VERSION[0]}; {_AGAIN}"
        )
    module = program["graph_module"]
    graph, signature = module["graph"], module["signature"]
    for key in _keys(graph):
        if key in _REFUSED:
            raise UnsupportedError(f"{path}: uses {_REFUSED[key]}, which lwc does not compile; remove it")
    if len(graph["nodes"]) > _MAX_NODES:
        raise BadInputError(f"{path}: has {len(graph['nodes'])} operators, the limit is {_MAX_NODES}")
    for node in graph["nodes"]:
        _check_operator(path, node)
    _check_signature(path, signature)
    nodes = [node | {"metadata": _harmless(node["metadata"])} for node in graph["nodes"]]
    inputs = sum("user_input" in spec for spec in signature["input_specs"])
    return {
        "graph_module": {
            "graph": graph | {"nodes": nodes},
            "signature": signature,
            "module_call_graph": [_flat_call(inputs, len(graph["outputs"]))],
        },
        "opset_version": {},
        "range_constraints": {},
        "schema_version": program["schema_version"],
        "verifiers": ["TRAINING"],
    }


def _keys(value: Any) -> Iterator[str]:
    """All keys of objects in `value`, without recursion: the nesting is the file's choice."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield from item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _check_operator(path: Path, node: dict[str, Any]) -> None:
    target = node["target"]
    if not isinstance(_operator(target), torch._ops.OpOverload):
        raise UnsupportedError(f"{path}: calls {target!r:.100}, not a plain operator of aten; remove it")
    for argument in node["inputs"]:
        if argument["name"] in ("train", "training") and argument["arg"].get("as_bool") is True:
            raise UnsupportedError(
                f"{path}: was exported in training mode; call model.eval() before the export"
            )


def _operator(target: str) -> Any:
    """The operator of this name, None where it is not let through."""
    prefix, _, rest = target.partition("torch.ops.")
    space, name, overload = (*rest.split("."), "", "", "")[:3]
    allowed = _OPERATORS.get(space, ())
    if prefix or rest.count(".") != 2 or not (name.isidentifier() and overload.isidentifier()):
        return None
    if name in _REFUSED_OPERATORS or (allowed is not None and name not in allowed):
        return None
    return getattr(getattr(getattr(torch.ops, space), name, None), overload, None)


def _check_signature(path: Path, signature: dict[str, Any]) -> None:
    for spec in signature["input_specs"]:
        (kind,) = spec
        if kind not in _INPUT_KINDS or (kind == "user_input" and "as_tensor" not in spec[kind]["arg"]):
            raise UnsupportedError(f"{path}: takes an input that is no tensor; export it with tensors only")
    for spec in signature["output_specs"]:
        (kind,) = spec
        if kind != "user_output":
            raise UnsupportedError(f"{path}: updates a buffer or an input; make the model's forward pure")
        if "as_tensor" not in spec[kind]["arg"]:
            raise UnsupportedError(f"{path}: returns something that is no tensor; return tensors only")


def _harmless(metadata: dict[str, Any]) -> dict[str, Any]:
    """Only the text that says where in the source an operator stands; other entries are looked up."""
    return {key: value for key, value in metadata.items() if key == "stack_trace" and isinstance(value, str)}


def _flat_call(inputs: int, outputs: int) -> dict[str, Any]:
    """The call of a function of positional tensors. The file's own would name classes to import."""
    signature = {
        "inputs": [],
        "outputs": [],
        "in_spec": pytree.treespec_dumps(pytree.tree_structure((tuple(range(inputs)), {}))),
        "out_spec": pytree.treespec_dumps(pytree.tree_structure(tuple(range(outputs)))),
    }
    return {"fqn": "", "signature": signature}
