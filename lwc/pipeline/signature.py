"""What no pass may change: shapes and dtypes of inputs and outputs, and which operators a graph may call."""

import operator
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from lwc.pipeline.guard import blame
from lwc.pipeline.run import Step
from lwc.trace import Program

# A tensor's shape and dtype.
Kind = tuple[tuple[int, ...], torch.dtype]


class SignatureHook:
    """A hook that calls `require_signature` with what the passes so far may introduce."""

    def __init__(self) -> None:
        self._operators: set[str] = set()

    def __call__(self, step: Step) -> None:
        """Raises BadInputError where a plug-in breaks the signature."""
        self._operators |= set(step.item.introduces)
        require_signature(step, self._operators)


def require_signature(step: Step, operators: set[str]) -> None:
    """Inputs and outputs keep shape and dtype, and what a pass writes is aten's or one of `operators`.

    Raises BadInputError where a plug-in breaks that.
    """
    for what, of in (("inputs", _inputs), ("outputs", _outputs)):
        before, after = of(step.before), of(step.after)
        if before != after:
            raise blame(step.item, f"changes the {what} from {_text(before)} to {_text(after)}")
    were_there = _operators(step.before)
    for node in step.after.module.graph.find_nodes(op="call_module"):
        raise blame(step.item, f"writes a call of the module {node.target!r}; write operators")
    for name in sorted(_operators(step.after) - were_there - operators):
        if not name.startswith("aten."):
            raise blame(step.item, f"writes {name}, which is neither aten's nor in its `introduces`")


def _operators(program: Program) -> set[str]:
    """What the graph calls, but for getitem, which every operator with several results needs."""
    calls = [node for node in program.module.graph.nodes if node.op == "call_function"]
    return {_name(node.target) for node in calls if node.target is not operator.getitem}


def _name(target: Any) -> str:
    """An operator's name with its overload, as in `aten.relu.default`; a function's name with its module."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    name = getattr(target, "__qualname__", type(target).__qualname__)
    return f"the function {getattr(target, '__module__', None) or 'builtins'}.{name}"


def _inputs(program: Program) -> list[Kind | None]:
    return [_kind(node.meta.get("val")) for node in program.module.graph.nodes if node.op == "placeholder"]


def _outputs(program: Program) -> list[Kind | None]:
    (output,) = (node for node in program.module.graph.nodes if node.op == "output")
    return [
        _kind(leaf.meta.get("val")) if isinstance(leaf, torch.fx.Node) else None
        for leaf in tree_leaves(output.args)
    ]


def _kind(value: Any) -> Kind | None:
    return (tuple(value.shape), value.dtype) if isinstance(value, torch.Tensor) else None


def _text(kinds: list[Kind | None]) -> str:
    return ", ".join(
        "?" if kind is None else f"{str(kind[1]).removeprefix('torch.')}{list(kind[0])}" for kind in kinds
    )
