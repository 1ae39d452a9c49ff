"""lwc's operators and matrix products as calls of our kernel templates, weights packed on the way."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from lwc.errors import UnsupportedError
from lwc.lower.convert_attention import convert_attention
from lwc.lower.kernel import ATTRIBUTE, KernelTable
from lwc.ops.view import named_arguments
from lwc.targets.kernels import conv2d, depthwise, gemm, matmul
from lwc.targets.kernels.epilogue import Epilogue
from lwc.tvm_api import relax

# TVM's operator pattern "opaque": its fusion leaves such a function alone.
_OPAQUE = 8


# Gives the Relax expression of a node, for TVM's importer.
Converter = Callable[[fx.Node, Any], Any]


class Templates:
    """The converters of what our templates compute; `constants` holds the tensors behind the graph's placeholders."""

    def __init__(self, constants: dict[str, torch.Tensor], kernels: KernelTable) -> None:
        self._constants = constants
        self._kernels = kernels
        self.convert_map: dict[str, Converter] = {
            # TVM's importer tells operators apart by these names alone, without the namespace.
            "conv2d.default": _if_own("conv2d.default", self._conv2d),
            "linear.default": _if_own("linear.default", self._linear),
            "attention.default": partial(convert_attention, constants, self._emit, kernels.target),
            "matmul.default": self._matmul,
            "bmm.default": self._matmul,
            "_unsafe_view.default": _view,
        }

    def _conv2d(self, node: fx.Node, importer: Any) -> Any:
        arguments = named_arguments(node)
        x, weight = importer.env[arguments["x"]], self._array(arguments["weight"])
        window = conv2d.Window(
            _pair(weight.shape[2:]),
            _pair(arguments["stride"]),
            tuple(arguments["padding"]),
            _pair(arguments["dilation"]),
        )
        builder, layout, groups = importer.block_builder, arguments["input_layout"], arguments["groups"]
        if layout == "NCHW" and (groups > 1 or window.kernel == (1, 1)):
            # Only the direct template reads NCHW.
            x, layout = builder.emit(relax.op.permute_dims(x, (0, 2, 3, 1))), "NHWC"
        bias = self._bias(arguments["bias"], weight.shape[0])
        emit = self._select(_shape(x), weight, window, groups, layout, _epilogue(arguments))
        y = emit(builder, x, weight, bias)
        if arguments["output_layout"] == "NHWC":
            return y
        return builder.emit(relax.op.permute_dims(y, (0, 3, 1, 2)))

    def _select(
        self,
        shape: tuple[int, ...],
        weight: NDArray[np.float32],
        window: conv2d.Window,
        groups: int,
        layout: str,
        epilogue: Epilogue,
    ) -> Callable[..., Any]:
        """The emitter of the template that fits: depthwise, pointwise, or direct."""
        target = self._kernels.target
        outputs = weight.shape[0]
        if layout == "NHWC" and groups == outputs == shape[3]:
            kernel = depthwise.plan(shape, window, epilogue, target)
            return lambda builder, x, w, b: self._emit(
                builder, "depthwise", kernel, depthwise.compute, x, depthwise.pack(w), b
            )
        pointwise = window.kernel == window.stride == (1, 1) and window.padding == (0, 0, 0, 0)
        if layout == "NHWC" and groups == 1 and pointwise:
            return lambda builder, x, w, b: self._gemm(builder, x, w[:, :, 0, 0], b, epilogue)
        direct = conv2d.plan(shape, outputs, groups, window, layout, epilogue, target)

        def emit(builder: Any, x: Any, w: NDArray[np.float32], b: NDArray[np.float32]) -> Any:
            bias = _padded(b, direct.padded_outputs)
            y = self._emit(builder, "conv2d", direct, conv2d.compute, x, conv2d.pack(direct, w), bias)
            return _first_columns(builder, y, outputs)

        return emit

    def _linear(self, node: fx.Node, importer: Any) -> Any:
        arguments = named_arguments(node)
        weight = self._array(arguments["weight"])
        bias = self._bias(arguments["bias"], weight.shape[0])
        x = importer.env[arguments["x"]]
        return self._gemm(importer.block_builder, x, weight, bias, _epilogue(arguments))

    def _gemm(
        self,
        builder: Any,
        x: Any,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        epilogue: Epilogue,
    ) -> Any:
        """x (..., K) times weight (N, K) transposed, over the flattened leading axes."""
        shape, (columns, inner) = _shape(x), weight.shape
        rows = int(np.prod(shape[:-1]))
        kernel = gemm.plan(rows, inner, columns, epilogue, self._kernels.target)
        x = builder.emit(relax.op.reshape(x, (rows, inner)))
        packed, bias = gemm.pack(kernel, weight), _padded(bias, kernel.padded_columns)
        y = self._emit(builder, "gemm", kernel, gemm.compute, x, packed, bias)
        y = _first_columns(builder, y, columns)
        return builder.emit(relax.op.reshape(y, (*shape[:-1], columns)))

    def _matmul(self, node: fx.Node, importer: Any) -> Any:
        builder = importer.block_builder
        left, right = (importer.env[argument] for argument in node.args[:2])
        a, b = _shape(left), _shape(right)
        if min(len(a), len(b)) < 2 or a[:-2] != b[:-2]:
            return builder.emit(relax.op.matmul(left, right))
        batch = int(np.prod(a[:-2]))
        kernel = matmul.plan(batch, a[-2], a[-1], b[-1], self._kernels.target)
        left = builder.emit(relax.op.reshape(left, (batch, *a[-2:])))
        right = builder.emit(relax.op.reshape(right, (batch, *b[-2:])))
        y = self._emit(builder, "matmul", kernel, matmul.compute, left, right)
        return builder.emit(relax.op.reshape(y, (*a[:-1], b[-1])))

    def _emit(self, builder: Any, hint: str, kernel: Any, compute: Callable[..., Any], *operands: Any) -> Any:
        """A call of `compute(kernel, *operands)` as one function that TVM does not fuse with others."""
        values = [relax.const(v) if isinstance(v, np.ndarray) else v for v in operands]
        return builder.emit_te(
            lambda *tensors: compute(kernel, *tensors),
            *values,
            primfunc_name_hint=f"lwc_{hint}",
            primfunc_attrs={ATTRIBUTE: self._kernels.index(kernel), "op_pattern": _OPAQUE},
        )

    def _array(self, node: fx.Node) -> NDArray[np.float32]:
        if node.name not in self._constants:
            raise UnsupportedError(
                f"{node.name}: a weight that is computed at run time; make it a parameter or a buffer"
            )
        return self._constants[node.name].to(torch.float32).numpy()

    def _bias(self, node: fx.Node | None, outputs: int) -> NDArray[np.float32]:
        return np.zeros(outputs, np.float32) if node is None else self._array(node)


def _if_own(key: str, convert: Converter) -> Converter:
    """`convert` for lwc's operator of this name, TVM's own converter for ATen's."""

    def choose(node: fx.Node, importer: Any) -> Any:
        if node.target.namespace == "lwc":  # type: ignore[union-attr]
            return convert(node, importer)
        return importer.create_convert_map()[key](node)

    return choose


def _epilogue(arguments: dict[str, Any]) -> Epilogue:
    return Epilogue(arguments["activation"], arguments["minimum"], arguments["maximum"])


def _pair(values: Any) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in value.ty.shape)


def _padded(bias: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return np.pad(bias, (0, size - len(bias)))


def _first_columns(builder: Any, value: Any, columns: int) -> Any:
    """`value` without the columns that were added to fill the last vector."""
    shape = _shape(value)
    if shape[-1] == columns:
        return value
    return builder.emit(relax.op.strided_slice(value, [len(shape) - 1], [0], [columns]))


def _view(node: fx.Node, importer: Any) -> Any:
    return importer.block_builder.emit(relax.op.reshape(importer.env[node.args[0]], node.args[1]))
