"""`lwc::attention` as a call of its kernel template, a constant bias packed on the way."""

from typing import Any

from torch import fx

from lwc.lower.emitter import Emitter, reshape, shape
from lwc.ops import AttentionView
from lwc.targets.kernels import attention
from lwc.targets.kernels.epilogue import Epilogue
from lwc.tvm_api import relax


def convert_attention(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """The Relax expression of `node`."""
    view, builder = AttentionView.of(node), importer.block_builder
    operands = [importer.env[operand] for operand in (view.query, view.key, view.value)]
    (batch, queries, _), (_, keys, _), _ = map(shape, operands)
    query, key, value = (
        attention.Heads(*heads) for heads in (view.query_heads, view.key_heads, view.value_heads)
    )
    epilogue = Epilogue(view.activation, view.minimum, view.maximum)
    kernel = attention.plan(
        batch, view.heads, queries, keys, query, key, value, view.scale, epilogue, emitter.target
    )
    if view.bias is not None:
        operands.append(_bias(emitter, kernel, view.bias, importer))
    y = emitter.call(builder, kernel, attention.compute, *operands)
    return reshape(builder, y, (batch, queries, view.heads * view.value_heads.size))


def _bias(emitter: Emitter, kernel: attention.Attention, bias: fx.Node, importer: Any) -> Any:
    """The bias as the kernel reads it; one that is computed at run time is turned then."""
    if bias.name in emitter.constants:
        return attention.pack(kernel, emitter.array(bias))
    builder = importer.block_builder
    turned = builder.emit(relax.op.permute_dims(importer.env[bias], (0, 2, 1)))
    added = kernel.padded_queries - kernel.queries
    return builder.emit(relax.op.nn.pad(turned, (0, 0, 0, 0, 0, added)))
