"""From Relax's `main` to a flat list of kernel calls over values, reshapes resolved to aliases."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.errors import UnsupportedError
from lwc.lower.layer import layer_of
from lwc.tvm_api import TensorConstant, relax, tvm


@dataclass(frozen=True)
class View:
    """Storage number `storage`, seen as a tensor of `shape`."""

    storage: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Call:
    """A call of the TensorIR function `function`: it reads `reads` and writes `writes`, for the model's `layer`."""

    function: str
    reads: tuple[View, ...]
    writes: tuple[View, ...]
    layer: str = ""


@dataclass
class CallList:
    """The program as calls in order; storages are numbered from 0, `constants` holds those with fixed contents."""

    calls: list[Call] = field(default_factory=list)
    constants: dict[int, NDArray[Any]] = field(default_factory=dict)
    inputs: list[View] = field(default_factory=list)
    outputs: list[View] = field(default_factory=list)
    storages: int = 0

    def new_storage(self) -> int:
        """The number of a storage not used yet."""
        self.storages += 1
        return self.storages - 1


def list_calls(module: tvm.IRModule) -> CallList:
    """The calls of `module`'s `main` function.

    Raises UnsupportedError for what has no static form: dynamic shapes, calls of packed functions.
    """
    return _Walk(module).result


class _Walk:
    def __init__(self, module: tvm.IRModule) -> None:
        self.result = CallList()
        self._values: dict[Any, Any] = {}
        self._constants: dict[Any, View] = {}
        self._layer = ""
        main = module["main"]
        for parameter in main.params:
            view = self._new_view(parameter.ty)
            self._values[parameter] = view
            self.result.inputs.append(view)
        for block in main.body.blocks:
            for binding in block.bindings:
                self._layer = layer_of(binding.var)
                self._values[binding.var] = self._value(binding.value)
        outputs = self._value(main.body.body)
        self.result.outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]

    def _new_view(self, info: Any) -> View:
        try:
            shape = tuple(int(extent) for extent in info.shape)
        except (TypeError, ValueError):
            raise UnsupportedError(
                f"a tensor of shape {info}: lwc compiles static shapes only; export the model with fixed sizes"
            ) from None
        return View(self.result.new_storage(), shape, str(info.dtype))

    def _value(self, expression: Any) -> Any:
        """The View, or the tuple of Views, that `expression` stands for."""
        if isinstance(expression, relax.Var):
            return self._values[expression]
        if isinstance(expression, TensorConstant):
            return self._constant(expression)
        if isinstance(expression, relax.Tuple):
            return tuple(self._value(item) for item in expression.fields)
        if isinstance(expression, relax.TupleGetItem):
            return self._value(expression.tuple_value)[expression.index]
        if isinstance(expression, relax.Call):
            return self._call(expression)
        raise UnsupportedError(
            f"{type(expression).__name__} in the lowered model: lwc has no static form of it"
        )

    def _constant(self, constant: Any) -> View:
        # Equal contents are merged when the weights are laid out.
        if constant not in self._constants:
            view = self._new_view(constant.ty)
            self.result.constants[view.storage] = np.ascontiguousarray(constant.value.numpy())
            self._constants[constant] = view
        return self._constants[constant]

    def _call(self, call: Any) -> Any:
        name = getattr(call.op, "name", "")
        if name == "relax.reshape":
            source = self._value(call.args[0])
            return View(source.storage, tuple(int(e) for e in call.ty.shape), source.dtype)
        if name != "relax.call_tir":
            raise UnsupportedError(f"{name or call.op}: lwc has no static form of this call")
        infos = call.ty_args[0]
        several = isinstance(infos, relax.TupleType)
        writes = tuple(self._new_view(info) for info in (infos.fields if several else [infos]))
        reads = tuple(self._value(argument) for argument in call.args[1].fields)
        self.result.calls.append(Call(call.args[0].name_hint, reads, writes, self._layer))
        return writes if several else writes[0]
