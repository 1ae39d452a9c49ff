"""Where two graphs that should give the same begin to differ."""

import math
from contextlib import suppress
from typing import Any

import torch
from torch import fx

from lwc.oracle import in_float64
from lwc.trace import Program

# Well above what rounding weights to float32 does, well below what a wrong rewrite does.
_TOLERANCE = 1e-5


def first_difference(before: Program, after: Program) -> str:
    """The first node of both graphs whose values differ, and how: `relu_3 by 0.12`, `relu_3 is NaN`; or "the result".

    A pass may turn an image's axes, so values are compared in sorted order; nodes of another size are other values.
    """
    old, new = _values(before), _values(after)
    for node in after.module.graph.nodes:
        if node.name not in old or node.name not in new or old[node.name].numel() != new[node.name].numel():
            continue
        how = _difference(old[node.name], new[node.name])
        if how is not None:
            return f"{node.name} {how}"
    return "the result"


def _difference(old: torch.Tensor, new: torch.Tensor) -> str | None:
    """How `new` differs from `old`; None where it does not."""
    finite = old.isfinite()
    if not bool(new[finite].isfinite().all()):
        return "is NaN" if bool(new[finite].isnan().any()) else "is not finite"
    # A mask has infinities, and the difference of two is NaN.
    both = finite & new.isfinite()
    difference = float((old - new)[both].square().sum().sqrt())
    if difference <= _TOLERANCE * float(old[both].square().sum().sqrt()):
        return None
    return f"by {difference / math.sqrt(old.numel()):.3g}"


def _values(program: Program) -> dict[str, torch.Tensor]:
    """Each operator's values in float64, sorted, by the node's name: of those before one that cannot be run."""
    recorder = _Recorder(in_float64(program.module))
    with torch.no_grad(), torch.random.fork_rng(devices=[]), suppress(Exception):
        torch.manual_seed(0)
        recorder.run(*(x.double() if x.is_floating_point() else x for x in program.inputs))
    return recorder.seen


class _Recorder(fx.Interpreter):
    def __init__(self, module: torch.nn.Module) -> None:
        assert isinstance(module, fx.GraphModule)
        super().__init__(module)
        self.seen: dict[str, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, torch.Tensor) and value.numel():
            self.seen[n.name] = value.double().flatten().sort().values
        return value
