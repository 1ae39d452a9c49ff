"""`lwc::separable_conv2d` as a call of its kernel template."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx

from lwc.lower.operands import first_columns, padded, shape, window
from lwc.ops import SeparableView
from lwc.ops.view import named_arguments
from lwc.targets.kernels import depthwise, gemm, separable
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.target import Target
from lwc.tvm_api import relax

Array = NDArray[np.float32]


def separable_converter(
    emit: Callable[..., Any],
    array: Callable[[fx.Node], Array],
    bias: Callable[[fx.Node | None, int], Array],
    target: Target,
) -> Callable[[fx.Node, Any], Any]:
    """The converter; `emit` makes the call of a template, `array` and `bias` give the constants behind nodes."""

    def convert(node: fx.Node, importer: Any) -> Any:
        view, x = SeparableView.of(node), importer.env[SeparableView.of(node).x]
        window_weight, weight = array(view.window_weight), array(view.weight)[:, :, 0, 0]
        outputs, channels = weight.shape
        epilogues = (
            Epilogue(view.window_activation, view.window_minimum, view.window_maximum),
            Epilogue(view.activation, view.minimum, view.maximum),
        )
        geometry = window(window_weight, named_arguments(node))
        kernel = separable.plan(shape(x), outputs, geometry, epilogues, target)
        y = emit(
            importer.block_builder,
            separable.NAME,
            kernel,
            separable.compute,
            x,
            depthwise.pack(window_weight),
            bias(view.window_bias, channels),
            gemm.pack_panels(weight, kernel.tile),
            padded(bias(view.bias, outputs), kernel.padded_outputs),
        )
        y = first_columns(importer.block_builder, y, outputs)
        return importer.block_builder.emit(relax.op.reshape(y, (kernel.batch, *kernel.output_size, outputs)))

    return convert
