"""A batch norm that has no layer to join becomes a multiplication and an addition.

Given:   y = bn(x)
Result:  y = x s + t,    s = gamma / sqrt(var + eps),    t = beta - mean s, by channel
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import fx

from lwc.graph import add_constant, aten, shape_of
from lwc.passes.fold_batch_norm import BATCH_NORM, reads_statistics, scale_and_shift
from lwc.pipeline import Pass
from lwc.trace import Program


@dataclass(frozen=True)
class DecomposeBatchNorm(Pass[fx.Node]):
    """A batch norm left over becomes a multiplication and an addition."""

    name: ClassVar[str] = "decompose-batch-norm"

    def match(self, program: Program, node: fx.Node) -> fx.Node | None:
        """A batch norm."""
        return node if node.target is BATCH_NORM else None

    def refuse(self, program: Program, match: fx.Node) -> str | None:
        """Its parameters must be known."""
        if scale_and_shift(program.module, match) is None:
            return "its statistics or its affine parameters are not constants"
        return "its statistics are read" if reads_statistics(match) else None

    def rewrite(self, program: Program, match: fx.Node) -> None:
        """See the module's docstring."""
        module, x = program.module, match.args[0]
        assert isinstance(x, fx.Node)
        form = (-1, *[1] * (len(shape_of(x)) - 2))
        parameters = scale_and_shift(module, match)
        assert parameters is not None
        with module.graph.inserting_before(match):
            scale, shift = (
                add_constant(module, f"{match.name}_{name}", value.reshape(form).to(x.meta["val"].dtype))
                for name, value in zip(("scale", "shift"), parameters, strict=True)
            )
            y = module.graph.call_function(aten.mul.Tensor, (x, scale))
            y = module.graph.call_function(aten.add.Tensor, (y, shift))
        # The next batch norm may read it.
        y.meta["val"] = x.meta["val"]
        for user in list(match.users):
            user.replace_all_uses_with(y)
            module.graph.erase_node(user)
        module.graph.erase_node(match)
