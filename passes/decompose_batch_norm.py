"""A batch norm that has no layer to join becomes a multiplication and an addition.

Given:   y = bn(x)
Result:  y = x s + t,    s = gamma / sqrt(var + eps),    t = beta - mean s, by channel
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from lwc.graph import add_constant, aten, calls, shape_of
from lwc.passes.fold_batch_norm import BATCH_NORM, reads_statistics, scale_and_shift
from lwc.pipeline import Pass, PassResult, Refusal
from lwc.trace import Program


@dataclass(frozen=True)
class DecomposeBatchNorm(Pass):
    """A batch norm left over becomes a multiplication and an addition."""

    name: ClassVar[str] = "decompose-batch-norm"

    def run(self, program: Program) -> PassResult:
        """See the module's docstring."""
        module, count, refusals = program.module, 0, []
        for norm in calls(module.graph, BATCH_NORM):
            parameters = scale_and_shift(module, norm)
            if parameters is None:
                reason = "its statistics or its affine parameters are not constants"
                refusals.append(Refusal(norm.name, reason))
                continue
            if reads_statistics(norm):
                refusals.append(Refusal(norm.name, "its statistics are read"))
                continue
            x: Any = norm.args[0]
            form = (-1, *[1] * (len(shape_of(x)) - 2))
            dtype = x.meta["val"].dtype
            with module.graph.inserting_before(norm):
                scale, shift = (
                    add_constant(module, f"{norm.name}_{name}", value.reshape(form).to(dtype))
                    for name, value in zip(("scale", "shift"), parameters, strict=True)
                )
                y = module.graph.call_function(aten.mul.Tensor, (x, scale))
                y = module.graph.call_function(aten.add.Tensor, (y, shift))
                # The next batch norm may read it.
                y.meta["val"] = x.meta["val"]
            for user in list(norm.users):
                user.replace_all_uses_with(y)
                module.graph.erase_node(user)
            module.graph.erase_node(norm)
            count += 1
        return PassResult(count, tuple(refusals))
