"""`lwc::attention` and `lwc::qattention` as calls of their templates, a constant bias packed on the way."""

from typing import Any

from torch import fx

from lwc.lower.emitter import Array, Emitter, reshape, shape
from lwc.ops import AttentionView, QuantizedAttentionView
from lwc.targets.kernels import attention
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.kernels.requantize import Requantize
from lwc.tvm_api import relax


def convert_attention(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """The Relax expression of `node`."""
    view, builder = AttentionView.of(node), importer.block_builder
    operands = _tokens(view, importer)
    epilogue = Epilogue(view.activation, view.minimum, view.maximum)
    kernel = _plan(emitter, view, operands, view.scale, epilogue)
    if view.bias is not None:
        operands.append(_bias(emitter, kernel, view.bias, importer))
    y = emitter.call(builder, kernel, emitter.templates.attention.compute, *operands)
    return _side_by_side(builder, y)


def convert_quantized_attention(emitter: Emitter, node: fx.Node, importer: Any) -> Any:
    """`lwc::qattention`."""
    view, builder = QuantizedAttentionView.of(node), importer.block_builder
    operands = _tokens(view, importer)
    how = Requantize(
        str(operands[0].ty.dtype),
        view.zero_point,
        view.minimum,
        view.maximum,
        view.activation,
        view.inverse_scale,
    )
    quantized_attention = emitter.templates.quantized_attention
    tiles = _plan(emitter, view, operands, 1.0, Epilogue())
    kernel = quantized_attention.plan(tiles, how, emitter.target)
    multiplier = quantized_attention.pack_multiplier(kernel, emitter.array(view.value_multiplier))
    bias = None if view.bias is None else _bias(emitter, tiles, view.bias, importer)
    constants = (emitter.array(view.multiplier), multiplier)
    y = emitter.call(builder, kernel, quantized_attention.compute, *operands, *constants, bias)
    return _side_by_side(builder, y)


def _tokens(view: AttentionView | QuantizedAttentionView, importer: Any) -> list[Any]:
    return [importer.env[operand] for operand in (view.query, view.key, view.value)]


def _plan(
    emitter: Emitter,
    view: AttentionView | QuantizedAttentionView,
    tokens: list[Any],
    scale: float,
    epilogue: Epilogue,
) -> Any:
    (batch, queries, _), (_, keys, _), _ = map(shape, tokens)
    query, key, value = (
        attention.Heads(*heads) for heads in (view.query_heads, view.key_heads, view.value_heads)
    )
    biased = view.bias is not None
    return emitter.templates.attention.plan(
        batch, view.heads, queries, keys, query, key, value, scale, biased, epilogue, emitter.target
    )


def _side_by_side(builder: Any, y: Any) -> Any:
    """The heads' results (B, M, heads, size) in one axis."""
    batch, queries, heads, size = shape(y)
    return reshape(builder, y, (batch, queries, heads * size))


def _bias(emitter: Emitter, kernel: attention.Attention, bias: fx.Node, importer: Any) -> Any:
    """The bias as the kernel reads it; one that is computed at run time is turned then."""
    if bias.name in emitter.constants:
        packed: Array = emitter.templates.attention.pack(kernel, emitter.array(bias))
        return packed
    if emitter.target.gpu is not None:
        return importer.env[bias]
    builder = importer.block_builder
    added = kernel.padded_queries - kernel.queries
    padded = builder.emit(relax.op.nn.pad(importer.env[bias], (0, 0, 0, added, 0, 0)))
    columns = kernel.score_tile.columns
    blocks = reshape(builder, padded, (kernel.heads, kernel.padded_queries // columns, columns, kernel.keys))
    return builder.emit(relax.op.permute_dims(blocks, (0, 1, 3, 2)))
