"""The template kernels of one program: each distinct one planned, packed and scheduled once."""

from dataclasses import dataclass, field
from typing import Any

from lwc.lower.templates import Templates, templates_of
from lwc.lower.widen import computed_in_float32
from lwc.targets.target import Target
from lwc.tvm_api import Schedule, tirx, tvm

ATTRIBUTE = "lwc.kernel"


@dataclass
class KernelTable:
    """Names for kernels: a function's attribute `lwc.kernel` is the index of its kernel here."""

    target: Target
    kernels: list[Any] = field(default_factory=list)

    @property
    def templates(self) -> Templates:
        """Those of the target."""
        return templates_of(self.target)

    def index(self, kernel: Any) -> int:
        """The index of `kernel`, entered where it is new."""
        if kernel not in self.kernels:
            self.kernels.append(kernel)
        return self.kernels.index(kernel)

    def macs(self, function: tirx.PrimFunc) -> int:
        """The multiply-accumulates of a call of `function`; 0 where it is no template's."""
        attributes = function.attrs or {}
        return int(self.kernels[int(attributes[ATTRIBUTE])].macs) if ATTRIBUTE in attributes else 0

    def schedule(self, function: tirx.PrimFunc) -> tirx.PrimFunc:
        """`function` scheduled by the template that its attribute names, or as a plain one."""
        templates = self.templates
        if ATTRIBUTE in (function.attrs or {}):
            kernel = self.kernels[int(function.attrs[ATTRIBUTE])]
            sch = Schedule(tvm.IRModule({"main": function}))
            templates.schedules[type(kernel)].schedule(sch, kernel)
        else:
            sch = Schedule(tvm.IRModule({"main": computed_in_float32(function)}))
            templates.plain(sch, self.target)
        return templates.finish(sch.mod["main"])
