"""FP16: a program whose tensors are float16, with float32 at its border; and the measure of what it gives.

Given:   y = f(x)                       all in float32
Result:  y = float32(g(float16(x)))     g is f with its constants and tensors in float16

Only storage is in float16: kernels, and functions without one (`lwc/lower/widen.py`), compute in float32, and round
once what they store.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from torch import fx

from lwc.errors import UnsupportedError, UsageError
from lwc.files import one_line
from lwc.graph import calls
from lwc.package.reference import Reference, Sample, outputs_of, run_reference
from lwc.pipeline.run import refresh
from lwc.pipeline.shapes import Shapes
from lwc.targets.target import Target
from lwc.trace import Program

PRECISION = "fp16"
_TO = torch.ops.aten._to_copy.default
# TVM's importer gives them a result in float32, to which it then adds a bias in float16.
_IMPORTED_AS_FLOAT32 = (torch.ops.aten.conv_transpose2d.input, torch.ops.aten.convolution.default)


def with_precision(target: Target, precision: str | None) -> Target:
    """`target` with kernels for `precision`; float16 where that is `PRECISION`, for which it must have a GPU.

    Raises UsageError where it has none.
    """
    if precision != PRECISION:
        return target if target.gpu is None else replace(target, gpu=replace(target.gpu, numbers="float32"))
    if target.gpu is None:
        raise UsageError(
            f"precision {PRECISION}: target {target.name!r} has no GPU; choose one, as in --target cuda:sm_80, or fp32"
        )
    return replace(target, gpu=replace(target.gpu, numbers="float16"))


def in_half(program: Program) -> Program:
    """See the module's docstring; what is not float32 stays as it is."""
    module = deepcopy(program.module).half()
    graph = module.graph
    for placeholder in graph.find_nodes(op="placeholder"):
        if not _is_float32(placeholder):
            continue
        with graph.inserting_after(placeholder):
            rounded = graph.call_function(_TO, (placeholder,), {"dtype": torch.float16})
        placeholder.replace_all_uses_with(rounded, delete_user_cb=lambda user, own=rounded: user is not own)
    (output,) = graph.find_nodes(op="output")

    def widened(value: fx.Node) -> fx.Node:
        if not _is_float32(value):
            return value
        with graph.inserting_before(output):
            return graph.call_function(_TO, (value,), {"dtype": torch.float32})

    output.args = fx.node.map_arg(output.args, widened)
    for node in calls(graph, *_IMPORTED_AS_FLOAT32):
        _compute_in_float32(graph, node)
    result = replace(program, module=module)
    refresh(result, Shapes())
    return result


def _compute_in_float32(graph: fx.Graph, node: fx.Node) -> None:
    def widened(operand: fx.Node) -> fx.Node:
        with graph.inserting_before(node):
            return graph.call_function(_TO, (operand,), {"dtype": torch.float32})

    node.args = fx.node.map_arg(node.args, widened)
    with graph.inserting_after(node):
        rounded = graph.call_function(_TO, (node,), {"dtype": torch.float16})
    node.replace_all_uses_with(rounded, delete_user_cb=lambda user: user is not rounded)


def _is_float32(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def run_reference_in_half(module: torch.nn.Module, samples: Sequence[Sample]) -> Reference:
    """`run_reference`, with what PyTorch gives in float16 in place of what it gives in float32.

    Raises UnsupportedError where PyTorch cannot run `module` in one of them.
    """
    reference = run_reference(module, samples)
    tensors = [[_in_half(torch.from_numpy(array)) for array in sample] for sample in samples]
    try:
        half = outputs_of(deepcopy(module).half(), tensors)
    except RuntimeError as error:
        raise UnsupportedError(
            f"{type(module).__name__}: PyTorch cannot run it in float16, against which lwc verifies"
            f" ({one_line(error)}); leave casts to float32 out, or compile it in fp32"
        ) from error
    return replace(reference, float32=tuple(output.astype("float32") for output in half))


def _in_half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
