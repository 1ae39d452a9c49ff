"""The shape and dtype of every node, computed anew only where a pass changed something."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from lwc.trace import Program


@dataclass(frozen=True, eq=False)
class _Known:
    """A node's value, and what it was computed from: other values, and all else as text.

    Passes see the value, and could change it: `form` is what it was.
    """

    value: Any
    form: str
    target: Any
    operands: tuple[Any, ...]
    text: str

    def holds(self, target: Any, operands: tuple[Any, ...], text: str) -> bool:
        """Whether these give the same value."""
        same = len(operands) == len(self.operands) and all(map(_is, operands, self.operands))
        unchanged = _form(self.value) == self.form
        return unchanged and same and target == self.target and text == self.text


class Shapes:
    """Sets each node's `meta["val"]`, a tensor without data (a FakeTensor), in one program as passes rewrite it.

    Nothing that a pass wrote into `meta` is believed.
    """

    def __init__(self) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._known: dict[fx.Node, _Known] = {}

    def propagate(self, program: Program) -> None:
        """Compute each node's value from its operands; raises what an operator raises on them."""
        propagation = _Propagation(program.module, self._known)
        with torch.no_grad(), self._mode:
            propagation.run(*program.inputs)
        self._known = propagation.new
        for node, known in self._known.items():
            node.meta["val"] = known.value


class _Propagation(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, old: dict[fx.Node, _Known]) -> None:
        super().__init__(module)
        self.old = old
        self.new: dict[fx.Node, _Known] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The node's value: the old one, where all that it came from is still the same."""
        is_leaf = n.op in ("placeholder", "get_attr")
        value = super().run_node(n) if is_leaf else None
        operands = (value,) if is_leaf else tuple(self.env[operand] for operand in n.all_input_nodes)
        text = _form(value) if is_leaf else repr((n.args, n.kwargs))
        known = self.old.get(n)
        if known is None or not known.holds(n.target, operands, text):
            value = _without_data(value) if is_leaf else super().run_node(n)
            known = _Known(value, _form(value), n.target, operands, text)
        self.new[n] = known
        return known.value


def _without_data(value: Any) -> Any:
    """Under a FakeTensorMode: a FakeTensor for a tensor."""
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)


def _form(value: Any) -> str:
    """What may change in a tensor, or in each of several, without it becoming another object."""
    leaves = tree_leaves(value)
    return repr([(x.shape, x.stride(), x.dtype) if isinstance(x, torch.Tensor) else x for x in leaves])


def _is(one: Any, other: Any) -> bool:
    return one is other
