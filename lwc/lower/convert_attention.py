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
    biased = view.bias is not None
    kernel = attention.plan(
        batch, view.heads, queries, keys, query, key, value, view.scale, biased, epilogue, emitter.target
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
    added = kernel.padded_queries - kernel.queries
    padded = builder.emit(relax.op.nn.pad(importer.env[bias], (0, 0, 0, added, 0, 0)))
    columns = kernel.score_tile.columns
    blocks = reshape(builder, padded, (kernel.heads, kernel.padded_queries // columns, columns, kernel.keys))
    return builder.emit(relax.op.permute_dims(blocks, (0, 1, 3, 2)))
