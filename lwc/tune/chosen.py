"""The kernels that tuning found faster, in place of the planned ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from lwc.lower.layer import layer_name
from lwc.targets.kernels.search_space import with_choice
from lwc.targets.target import Target
from lwc.trace import Program
from lwc.tune.alone import call_of
from lwc.tune.progress import is_usable
from lwc.tune.records import Trial, workload_of
from lwc.tune.workload import describe


@dataclass(frozen=True)
class Chosen:
    """Takes for each node of `program` the kernel of its workload's trial in `best`, where that is usable.

    `layers` are those whose kernels were so taken, once they are.
    """

    program: Program
    target: Target
    best: Mapping[str, Trial]
    layers: list[str] = field(default_factory=list)

    def __call__(self, node: fx.Node, kernel: Any) -> Any:
        """A `lwc.lower.choose.Choose`."""
        if not self.best:
            return kernel
        call = call_of(self.program.module, node)
        trial = None if call is None else self.best.get(workload_of(describe(call)))
        if trial is None or not is_usable(trial):
            return kernel
        chosen = with_choice(kernel, trial.choice, self.target)
        if chosen is None:
            return kernel
        self.layers.append(layer_name(node))
        return chosen
