"""Calls of our kernel templates in the program that TVM imports, and what their converters ask of operands."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from lwc.errors import UnsupportedError
from lwc.lower.choose import Choose
from lwc.lower.kernel import ATTRIBUTE, KernelTable
from lwc.lower.layer import layer_name, variable_name
from lwc.lower.templates import Templates
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.target import Target
from lwc.tvm_api import relax, te

# TVM's operator pattern "opaque": its fusion leaves such a function alone.
_OPAQUE = 8

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Emitter:
    """Emits calls of kernels for a node; `constants` holds the tensors behind the graph's placeholders.

    `original` is the node in the program, None where it is not known.
    """

    constants: dict[str, torch.Tensor]
    kernels: KernelTable
    choose: Choose
    original: fx.Node | None = None

    @property
    def layer(self) -> str:
        """The model's own name of the layer; empty where it is not known."""
        return "" if self.original is None else layer_name(self.original)

    def chosen(self, kernel: Any) -> Any:
        """The kernel to take where `kernel` is the plan."""
        return kernel if self.original is None else self.choose(self.original, kernel)

    @property
    def target(self) -> Target:
        """The machine that kernels are planned for."""
        return self.kernels.target

    @property
    def templates(self) -> Templates:
        """The target's templates."""
        return self.kernels.templates

    def array(self, node: fx.Node) -> Array:
        """The constant behind `node` in float32. Raises UnsupportedError where there is none."""
        return self._constant(node).to(torch.float32).numpy()

    def integers(self, node: fx.Node) -> NDArray[Any]:
        """The constant behind `node` in its own type. Raises UnsupportedError where there is none."""
        return self._constant(node).numpy()

    def _constant(self, node: fx.Node) -> torch.Tensor:
        if node.name not in self.constants:
            raise UnsupportedError(
                f"{node.name}: a weight that is computed at run time; make it a parameter or a buffer"
            )
        return self.constants[node.name]

    def bias(self, node: fx.Node | None, outputs: int) -> Array:
        """The bias behind `node`, zeros where there is none."""
        return np.zeros(outputs, np.float32) if node is None else self.array(node)

    def call(self, builder: Any, kernel: Any, compute: Callable[..., Any], *operands: Any) -> Any:
        """`compute(kernel, *operands)`, None left out, as one function that TVM does not fuse with others."""
        given = [operand for operand in operands if operand is not None]
        values = [relax.const(v) if isinstance(v, np.ndarray) else v for v in given]
        call = builder.call_te(
            lambda *tensors: compute(kernel, *tensors),
            *values,
            primfunc_name_hint=f"lwc_{type(kernel).__name__.lower()}",
            primfunc_attrs={ATTRIBUTE: self.kernels.index(kernel), "op_pattern": _OPAQUE},
        )
        return builder.emit(call, variable_name(self.layer))

    def call_in_columns(
        self,
        builder: Any,
        kernel: Any,
        compute: Callable[..., Any],
        operands: tuple[Any, ...],
        bias: Array,
        residual: Any,
    ) -> Any:
        """A call of a kernel whose result may have more columns, to fill vectors, which are then cut off."""
        columns = len(bias)
        bias = np.pad(bias, (0, kernel.stored_columns - columns))
        if residual is None or kernel.stored_columns == columns:
            return first_columns(
                builder, self.call(builder, kernel, compute, *operands, bias, residual), columns
            )
        # A residual without these columns cannot be read in whole vectors.
        y = self.call(builder, replace(kernel, epilogue=Epilogue()), compute, *operands, bias)
        return builder.emit_te(
            lambda y, r: te.compute(r.shape, lambda *at: kernel.epilogue(y(*at), r(*at)), name="finish"),
            y,
            residual,
            primfunc_name_hint="finish",
        )


def shape(value: Any) -> tuple[int, ...]:
    """The shape of a Relax expression."""
    return tuple(int(extent) for extent in value.ty.shape)


def reshape(builder: Any, value: Any, extents: tuple[int, ...]) -> Any:
    """`value` with the shape `extents`; of a reshaped tensor, at once from what that was made from.

    TVM fuses two reshapes in a row into a copy.
    """
    origin = builder.lookup_binding(value) if isinstance(value, relax.Var) else None
    if isinstance(origin, relax.Call) and getattr(origin.op, "name", "") == "relax.reshape":
        value = origin.args[0]
    return value if shape(value) == extents else builder.emit(relax.op.reshape(value, extents))


def first_columns(builder: Any, value: Any, columns: int) -> Any:
    """`value` without the columns that were added to fill the last vector."""
    extents = shape(value)
    if extents[-1] == columns:
        return value
    return builder.emit(relax.op.strided_slice(value, [len(extents) - 1], [0], [columns]))
