"""How far a quantized program's outputs go where borderline numbers are rounded to their other neighbour.

Two ways of computing a quantized model are both right where they differ in the last bits of a sum; a number near the
middle of two steps then becomes the one or the other, and a mean of a few numbers often lies in the very middle. So
each number is moved, before it is rounded, by up to an eighth of a step at random: about one of sixteen then changes.
"""

from copy import deepcopy
from dataclasses import replace

import torch

from lwc.graph import add_constant, aten, calls, shape_of
from lwc.ops import QuantizeView
from lwc.pipeline.run import refresh
from lwc.pipeline.shapes import Shapes
from lwc.trace import Program

# In steps. Against it, the errors of sums in float32, of biases in 32 bits and of residuals of 15 bits are small.
_MOST = 1 / 8


def nudged(program: Program) -> Program:
    """`program` with numbers added to all that it quantizes: for each element one of up to an eighth of a step."""
    module = deepcopy(program.module)
    generator = torch.Generator().manual_seed(0)
    for node in calls(module.graph, torch.ops.lwc.quantize.default):
        view = QuantizeView.of(node)
        steps = (2 * torch.rand(shape_of(node), generator=generator) - 1) * _MOST
        with module.graph.inserting_before(node):
            shift = add_constant(module, f"{node.name}_shift", steps / view.inverse_scale)
            moved = module.graph.call_function(aten.add.Tensor, (view.x, shift))
        node.args = (moved, *node.args[1:])
    result = replace(program, module=module)
    refresh(result, Shapes())
    return result
