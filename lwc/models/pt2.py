"""A .pt2 file of torch.export.save as a plain module of positional tensors."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from lwc.errors import BadInputError, UnsupportedError
from lwc.files import one_line
from lwc.models.names import model_name, unique_identifiers
from lwc.models.pt2_archive import read_archive, static_sizes
from lwc.models.pt2_program import build_program
from lwc.models.request import LoadedModel
from lwc.models.synthetic import example_input

_FLOAT32 = 7
_MAX_BYTES = 1024**3
_ATEN = torch.ops.aten


def load_pt2(path: Path, seed: int) -> LoadedModel:
    """The program in the .pt2 file `path`; example inputs are seeded, of the shapes it was exported with.

    Runs no code of the file. Raises BadInputError for a malformed or hostile file, UnsupportedError for
    dynamic shapes, inputs or outputs that are not float32 tensors, and programs with side effects.
    """
    archive = read_archive(path)
    program = build_program(path, archive)
    names = program.graph_signature.user_inputs
    metas = archive.program["graph_module"]["graph"]["tensor_values"]
    inputs = tuple(_input(path, str(name), metas[name], seed + index) for index, name in enumerate(names))
    if not inputs:
        raise UnsupportedError(f"{path}: takes no inputs; export a model that takes a tensor")
    module = _plain_module(path, program)
    outputs = _check_outputs(path, module, inputs)
    return LoadedModel(
        name=model_name(path.stem),
        source=path.name,
        module=module,
        inputs=inputs,
        input_names=unique_identifiers([str(name) for name in names], "input"),
        output_names=("output",) if outputs == 1 else tuple(f"output_{index}" for index in range(outputs)),
        input_layouts=("dims",) * len(inputs),
        output_layouts=("dims",) * outputs,
        preprocessing=None,
        labels=None,
        weights="file",
    )


def _input(path: Path, name: str, meta: dict[str, object], seed: int) -> torch.Tensor:
    where = f"{path}: input {name!r:.100}"
    if meta["dtype"] != _FLOAT32:
        raise UnsupportedError(f"{where} is not float32; export the model with float32 inputs")
    shape = static_sizes(where, meta["sizes"])
    if not shape or 0 in shape:
        raise UnsupportedError(f"{where} has shape {shape}; give it at least one dimension, and none of 0")
    if torch.Size(shape).numel() * 4 > _MAX_BYTES:
        raise UnsupportedError(f"{where} has shape {shape}, too large; use a smaller input")
    return example_input(shape, seed)


def _plain_module(path: Path, program: ExportedProgram) -> fx.GraphModule:
    """`program` with all its tensors as parameters or buffers, so that `.double()` converts them."""
    root, graph = nn.Module(), program.graph_module.graph
    placeholders = {node.name: node for node in graph.find_nodes(op="placeholder")}
    tensors = dict(program.state_dict) | dict(program.constants)
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            continue
        assert spec.target is not None
        node = placeholders[spec.arg.name]
        if spec.kind is InputKind.PARAMETER:
            root.register_parameter(node.name, tensors[spec.target])
        else:
            root.register_buffer(node.name, tensors[spec.target])
        with graph.inserting_before(node):
            value = graph.create_node("get_attr", node.name)
        value.meta.update(node.meta)
        node.replace_all_uses_with(value)
        graph.erase_node(node)
    _remove_casts(graph)
    _refuse_side_effects(path, graph)
    (output,) = graph.find_nodes(op="output")
    if len(output.args[0]) == 1:
        output.args = tuple(output.args[0])
    # A new module: the one of an ExportedProgram has neither eval() nor conversions to other types.
    return fx.GraphModule(root, graph).eval()


def _remove_casts(graph: fx.Graph) -> None:
    """Drop checks for float32, and casts of what is float32 already: they would break a run in float64."""
    for node in graph.find_nodes(op="call_function", target=_ATEN._assert_tensor_metadata.default):
        graph.erase_node(node)
    for node in graph.find_nodes(op="call_function", target=_ATEN.to.dtype):
        source = node.args[0]
        if isinstance(source, fx.Node) and source.meta["val"].dtype == node.args[1]:
            node.replace_all_uses_with(source)
            graph.erase_node(node)


def _refuse_side_effects(path: Path, graph: fx.Graph) -> None:
    for node in graph.nodes:
        if node.op != "call_function" or not getattr(node.target, "_schema", None):
            continue
        for argument, value in zip(node.target._schema.arguments, node.args, strict=False):
            writes = argument.alias_info is not None and argument.alias_info.is_write
            if writes and isinstance(value, fx.Node) and value.op in ("placeholder", "get_attr"):
                raise UnsupportedError(
                    f"{path}: {node.name:.100} overwrites an input or a buffer; make it pure"
                )


@contextmanager
def _silent() -> Iterator[None]:
    """Without torch's own log of a failure, a traceback to the user."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _check_outputs(path: Path, module: fx.GraphModule, inputs: tuple[torch.Tensor, ...]) -> int:
    """The number of outputs, after computing all shapes anew: those in the file are a claim only."""
    try:
        with torch.no_grad(), _silent():
            result = FakeTensorProp(module, FakeTensorMode(allow_non_fake_inputs=True)).propagate(*inputs)
    except Exception as error:
        raise BadInputError(
            f"{path}: its program does not run ({one_line(error)}); export it again"
        ) from None
    for node in module.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and value.numel() * value.itemsize > _MAX_BYTES:
            raise UnsupportedError(f"{path}: {node.name:.100} is a tensor of more than {_MAX_BYTES} bytes")
    outputs = result if isinstance(result, tuple | list) else (result,)
    for output in outputs:
        if not isinstance(output, torch.Tensor) or output.dtype != torch.float32:
            raise UnsupportedError(f"{path}: an output is not a float32 tensor; return float32 tensors only")
    return len(outputs)
