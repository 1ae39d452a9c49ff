"""`aten.layer_norm` as a call of its kernel template."""

import math
from typing import Any

import numpy as np
from torch import fx

from lwc.lower.emitter import Emitter, reshape, shape
from lwc.ops.view import named_arguments
from lwc.tvm_api import relax


def convert_layer_norm(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """The Relax expression of `node`."""
    arguments, builder, norm = named_arguments(node), importer.block_builder, emitter.templates.norm
    x = importer.env[arguments["input"]]
    extents = shape(x)
    over = len(arguments["normalized_shape"])
    rows, columns = math.prod(extents[:-over]), math.prod(extents[-over:])
    kernel = norm.plan(rows, columns, arguments["eps"], emitter.target)
    weight, bias = (arguments[name] and importer.env[arguments[name]] for name in ("weight", "bias"))
    if weight is None and bias is not None:
        weight = relax.const(np.ones(columns, np.float32))
    affine = [
        None if operand is None else reshape(builder, operand, (columns,)) for operand in (weight, bias)
    ]
    y = emitter.call(builder, kernel, norm.compute, reshape(builder, x, (rows, columns)), *affine)
    return reshape(builder, y, extents)
