"""`lwc::attention` as a call of its kernel template, a constant bias packed on the way."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from lwc.ops import AttentionView
from lwc.targets.kernels import attention
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.target import Target
from lwc.tvm_api import relax


def convert_attention(
    constants: dict[str, torch.Tensor], emit: Callable[..., Any], target: Target, node: fx.Node, importer: Any
) -> Any:
    """The Relax expression of `node`; `emit` calls a template, `constants` are the tensors behind placeholders."""
    view = AttentionView.of(node)
    builder = importer.block_builder
    operands = [importer.env[operand] for operand in (view.query, view.key, view.value)]
    (batch, queries, _), (_, keys, _), _ = (map(int, operand.ty.shape) for operand in operands)
    epilogue = Epilogue(view.activation, view.minimum, view.maximum)
    kernel = attention.plan(
        batch,
        view.heads,
        queries,
        keys,
        attention.Heads(*view.query_heads),
        attention.Heads(*view.key_heads),
        attention.Heads(*view.value_heads),
        view.scale,
        epilogue,
        target,
    )
    if view.bias is not None:
        operands.append(_bias(constants, kernel, view.bias, importer))
    y = emit(builder, "attention", kernel, attention.compute, *operands)
    return builder.emit(relax.op.reshape(y, (batch, queries, view.heads * view.value_heads.size)))


def _bias(
    constants: dict[str, torch.Tensor], kernel: attention.Attention, bias: fx.Node, importer: Any
) -> Any:
    """The bias as the kernel reads it; one that is computed at run time is turned then."""
    if bias.name in constants:
        return attention.pack(kernel, constants[bias.name].to(torch.float32).numpy())
    builder = importer.block_builder
    turned = builder.emit(relax.op.permute_dims(importer.env[bias], (0, 2, 1)))
    added = kernel.padded_queries - kernel.queries
    return builder.emit(relax.op.nn.pad(turned, (0, 0, 0, 0, 0, added)))
