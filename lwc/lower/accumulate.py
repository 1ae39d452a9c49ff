"""Dot products that add to their accumulator: LLVM knows no rule that would join the addition to the instruction."""

from typing import Any

from lwc.targets.kernels.dot_product import is_dot
from lwc.tvm_api import s_tir, tirx


def accumulate_in_dot_products(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """`function` with sums of a buffer's element and a dot product as one operation.

    Given   y[i] = y[i] + dot(x, w, 0)
    Result  y[i] = dot(x, w, y[i])
    """
    return function.with_body(_rewrite(function.body))


def _rewrite(statement: Any) -> Any:
    if isinstance(statement, tirx.SeqStmt):
        return tirx.SeqStmt([_rewrite(part) for part in statement.seq])
    if isinstance(statement, tirx.For):
        return tirx.For(
            statement.loop_var,
            statement.min,
            statement.extent,
            statement.kind,
            _rewrite(statement.body),
            statement.thread_binding,
            statement.annotations,
        )
    if isinstance(statement, s_tir.SBlockRealize):
        return s_tir.SBlockRealize(
            statement.iter_values, statement.predicate, _rewrite_block(statement.block)
        )
    if isinstance(statement, tirx.BufferStore):
        return tirx.BufferStore(statement.buffer, _joined(statement.value), statement.indices)
    return statement


def _rewrite_block(block: Any) -> Any:
    return s_tir.SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        _rewrite(block.body),
        block.init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )


def _joined(value: Any) -> Any:
    if not isinstance(value, tirx.Add) or not is_dot(value.b):
        return value
    x, w, _ = value.b.args
    return tirx.call_intrin(str(value.b.ty), value.b.op.name, x, w, value.a)
