"""The distinct kernels of a program that leave something open, each with the layers that use it."""

from dataclasses import dataclass
from typing import Any

from torch import fx

from lwc.lower.layer import layer_name
from lwc.lower.relax_import import import_program
from lwc.targets.kernels.search_space import space_of
from lwc.targets.target import Target
from lwc.trace import Program
from lwc.tune.alone import LayerCall, call_of
from lwc.tune.records import workload_of
from lwc.tune.workload import describe


@dataclass(frozen=True)
class Task:
    """A kernel to tune: what it has to do, the kernel that is planned for it, and the layers that it computes."""

    call: LayerCall
    description: str
    kernel: Any
    layers: tuple[str, ...]

    @property
    def workload(self) -> str:
        """The hash that its records are kept under."""
        return workload_of(self.description)

    @property
    def kind(self) -> str:
        """The template that makes the kernel, as `lwc profile` calls it."""
        return type(self.kernel).__name__.lower()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one call."""
        return int(self.kernel.macs)


def tasks_of(program: Program, target: Target) -> list[Task]:
    """The tasks of `program`, in the order in which it computes them."""
    found: dict[str, Task] = {}

    def note(node: fx.Node, kernel: Any) -> Any:
        call = call_of(program.module, node)
        if call is not None and space_of(kernel) is not None:
            description, layer = describe(call), layer_name(node)
            known = found.get(description)
            layers = (layer,) if known is None else (*known.layers, layer)
            found[description] = Task(call, description, kernel, layers)
        return kernel

    import_program(program, target, note)
    return list(found.values())
