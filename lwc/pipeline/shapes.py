"""The shape and dtype of every node; what gives the same for the same operands is computed once."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode

from lwc.trace import Program


@dataclass(frozen=True, eq=False)
class _Known:
    """A value, and what it was when it was computed: passes see the value, and could change it."""

    value: Any
    form: Hashable


class Shapes:
    """Sets each node's `meta["val"]`, a tensor without data (a FakeTensor), in one program as passes rewrite it.

    Nodes that call the same operator on operands of the same form share one. Nothing that a pass wrote into `meta` is
    believed.
    """

    def __init__(self) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._known: dict[Hashable, _Known] = {}

    def propagate(self, program: Program) -> None:
        """Compute each node's value from its operands; raises what an operator raises on them."""
        propagation = _Propagation(program.module, self._known)
        with torch.no_grad(), self._mode:
            propagation.run(*program.inputs)
        for node, value in propagation.env.items():
            node.meta["val"] = value


class _Propagation(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, known: dict[Hashable, _Known]) -> None:
        super().__init__(module, garbage_collect_values=False)
        self._known = known

    def run_node(self, n: fx.Node) -> Any:
        """The node's value: a known one, where all that it comes from is the same."""
        is_leaf = n.op in ("placeholder", "get_attr")
        value = super().run_node(n) if is_leaf else None
        key = _form(value) if is_leaf else (n.op, n.target, self._operands(n))
        known = self._known.get(key)
        if known is None or _form(known.value) != known.form:
            value = _without_data(value) if is_leaf else super().run_node(n)
            known = self._known[key] = _Known(value, _form(value))
        return known.value

    def _operands(self, n: fx.Node) -> str:
        """The node's arguments, its operands by their forms."""
        return repr(fx.map_arg((n.args, n.kwargs), lambda operand: _form(self.env[operand])))


def _without_data(value: Any) -> Any:
    """Under a FakeTensorMode: a FakeTensor for a tensor."""
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)


def _form(value: Any) -> Any:
    """What the form of a result depends on: of tensors shape, strides and dtype, of other objects which one it is."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, tuple | list):
        return tuple(map(_form, value))
    return id(value)
