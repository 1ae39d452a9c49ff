"""`lwc::separable_conv2d` as a call of its kernel template."""

from typing import Any

from torch import fx

from lwc.lower.emitter import Emitter, reshape, shape
from lwc.ops import SeparableView
from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.epilogue import Epilogue


def convert_separable(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """The Relax expression of `node`."""
    view, builder = SeparableView.of(node), importer.block_builder
    x = importer.env[view.x]
    window_weight, weight = emitter.array(view.window_weight), emitter.array(view.weight)[:, :, 0, 0]
    (outputs, channels), (height, width) = weight.shape, window_weight.shape[2:]
    epilogues = (
        Epilogue(view.window_activation, view.window_minimum, view.window_maximum),
        Epilogue(view.activation, view.minimum, view.maximum),
    )
    window = Window((height, width), view.stride, view.padding, view.dilation)
    separable = emitter.templates.separable
    kernel = emitter.chosen(separable.plan(shape(x), outputs, window, epilogues, emitter.target))
    residual = None
    if view.residual is not None:
        residual = reshape(builder, importer.env[view.residual], kernel.extents)
    packed_window, packed = separable.pack(kernel, window_weight, weight)
    operands = (x, packed_window, emitter.bias(view.window_bias, channels), packed)
    bias = emitter.bias(view.bias, outputs)
    y = emitter.call_in_columns(builder, kernel, separable.compute, operands, bias, residual)
    return reshape(builder, y, (kernel.batch, *kernel.output_size, outputs))
