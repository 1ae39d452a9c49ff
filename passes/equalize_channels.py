"""The channels between two layers get like ranges: 8-bit integers have one scale for all of them.

Given:   z = op2(f(op1(x, V, a)), W, b)            f: ReLU or nothing, then reshapes and means of each channel
Result:  z = op2(f(op1(x, V / s, a / s)), W s, b)  by channel, s = sqrt(r1 r2) / r2

after M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1:
r2[c] is the largest magnitude of the weights of op2 that read channel c. r1[c] there is that of V[c], here that of y[c]
on the samples, as weights have a scale for each output channel.

f(y / s) = f(y) / s for s > 0. s is rounded to a power of two: the program gives the same bits as before.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import fx

from lwc.graph import RESHAPES, add_constant, aten, constant, has_other_users, shape_of
from lwc.ops import ConvView, LinearView
from lwc.ops.view import named_arguments
from lwc.pipeline import Pass
from lwc.trace import Program

_CONV2D, _LINEAR = torch.ops.lwc.conv2d.default, torch.ops.lwc.linear.default
# Further apart than this power of two, a channel is next to nothing, and what was measured of it chance.
_MOST = 8


@dataclass(frozen=True)
class Pair:
    """A layer, the layer that reads its channels, and the largest magnitude of each channel between them."""

    writer: fx.Node
    reader: fx.Node
    ranges: torch.Tensor


@dataclass(frozen=True)
class EqualizeChannels(Pass[Pair]):
    """Weights of two layers are scaled, channel by channel, so that the tensor between them suits 8-bit integers."""

    name: ClassVar[str] = "equalize-channels"

    def candidates(self, program: Program) -> Iterator[tuple[fx.Node, Pair]]:
        """Each layer that reads the channels of another, the last one first: dividing a layer's rows changes its r2."""
        layers = [node for node in program.module.graph.nodes if node.target in (_CONV2D, _LINEAR)]
        writers = {node: writer for node in layers if (writer := _writer_of(node.args[0])) is not None}
        ranges = _measure(program, set(writers.values()))
        yield from [(node, Pair(writer, node, ranges[writer])) for node, writer in reversed(writers.items())]

    def refuse(self, program: Program, match: Pair) -> str | None:
        """What stands between has to scale with its input, and nothing else may read it."""
        reason = _refuse_writer(program.module, match) or _refuse_reader(program.module, match)
        if reason is not None:
            return reason
        alike = bool((_scales(program.module, match) == 1).all())
        return "the ranges of its channels are alike" if alike else None

    def rewrite(self, program: Program, match: Pair) -> None:
        """See the module's docstring."""
        scales = _scales(program.module, match)
        _divide_rows(program.module, match.writer, scales)
        _multiply_columns(program.module, match.reader, scales)


def _writer_of(node: Any) -> fx.Node | None:
    """The layer whose channels `node` has in its last axis, through means and reshapes of each channel."""
    while node.target in (*RESHAPES, aten.mean.dim) and _keeps_channels(node):
        node = node.args[0]
    return node if node.target in (_CONV2D, _LINEAR) else None


def _keeps_channels(node: fx.Node) -> bool:
    (source,) = node.all_input_nodes
    if node.target in RESHAPES:
        return shape_of(source)[-1:] == shape_of(node)[-1:]
    rank = len(shape_of(source))
    return all(dim % rank != rank - 1 for dim in named_arguments(node)["dim"] or [-1])


class _Ranges(fx.Interpreter):
    """Runs a graph, and keeps the largest magnitude of each channel of the layers `wanted`."""

    def __init__(self, module: fx.GraphModule, wanted: set[fx.Node]) -> None:
        super().__init__(module)
        self.found: dict[fx.Node, torch.Tensor] = {}
        self._wanted = wanted

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self._wanted:
            largest = value.abs().flatten(0, -2).amax(0)
            self.found[n] = torch.maximum(self.found.get(n, largest), largest)
        return value


def _measure(program: Program, writers: set[fx.Node]) -> dict[fx.Node, torch.Tensor]:
    recorder = _Ranges(program.module, writers)
    with torch.no_grad():
        for sample in program.samples or (program.inputs,):
            recorder.run(*sample)
    return recorder.found


def _view(node: fx.Node) -> Any:
    return ConvView.of(node) if node.target is _CONV2D else LinearView.of(node)


def _is_depthwise(view: Any) -> bool:
    return isinstance(view, ConvView) and view.groups > 1


def _refuse_writer(module: fx.GraphModule, match: Pair) -> str | None:
    view = _view(match.writer)
    if view.residual is not None:
        return "a residual is added between"
    if view.activation != "identity":
        return f"its {view.activation} does not scale"
    if view.maximum is not None or view.minimum not in (None, 0.0):
        return "its clamp does not scale"
    if isinstance(view, ConvView) and view.output_layout != "NHWC":
        return "its channels are not the last axis"
    return _refuse_parameters(module, view)


def _refuse_reader(module: fx.GraphModule, match: Pair) -> str | None:
    view = _view(match.reader)
    if has_other_users(match.writer, match.reader) or view.residual is view.x:
        return "something else reads the channels"
    if isinstance(view, ConvView) and view.input_layout != "NHWC":
        return "the layer after it does not read the last axis"
    if _is_depthwise(view) and view.groups != shape_of(view.weight)[0]:
        return "the layer after it has groups of channels"
    return _refuse_parameters(module, view)


def _refuse_parameters(module: fx.GraphModule, view: Any) -> str | None:
    parameters = [item for item in (view.weight, view.bias) if item is not None]
    if any(constant(module, item) is None for item in parameters):
        return "a weight or a bias is not a constant"
    return None


def _scales(module: fx.GraphModule, match: Pair) -> torch.Tensor:
    """s by channel, in float64; 1 for a channel that is nothing, and for the median of the others."""
    view = _view(match.reader)
    weight = constant(module, view.weight)
    assert weight is not None
    by_channel = weight if _is_depthwise(view) else weight.transpose(0, 1)
    ranges, read = match.ranges.double(), by_channel.double().abs().flatten(1).amax(1)
    live = (ranges > 0) & (read > 0)
    scales = torch.ones_like(ranges)
    if live.any():
        octaves = (ranges[live] / read[live]).sqrt().log2().round()
        scales[live] = (octaves - octaves.median()).clamp(-_MOST, _MOST).exp2()
    return scales


def _divide_rows(module: fx.GraphModule, writer: fx.Node, scales: torch.Tensor) -> None:
    """The layer gives y / s."""
    view = _view(writer)
    scaled = {}
    with module.graph.inserting_before(writer):
        for name in ("weight", "bias"):
            value = constant(module, getattr(view, name))
            if value is not None:
                divided = value / scales.to(value.dtype).reshape(-1, *[1] * (value.dim() - 1))
                scaled[name] = add_constant(module, f"{getattr(view, name).target}_equalized", divided)
    writer.args = replace(view, **scaled).arguments


def _multiply_columns(module: fx.GraphModule, reader: fx.Node, scales: torch.Tensor) -> None:
    """The layer reads y / s."""
    view = _view(reader)
    weight = constant(module, view.weight)
    assert weight is not None
    # A depthwise convolution has its channels in the first axis.
    leading = () if _is_depthwise(view) else (1,)
    shape = (*leading, -1, *[1] * (weight.dim() - 1 - len(leading)))
    with module.graph.inserting_before(reader):
        multiplied = weight * scales.to(weight.dtype).reshape(shape)
        scaled = add_constant(module, f"{view.weight.target}_equalized", multiplied)
    reader.args = replace(view, weight=scaled).arguments
