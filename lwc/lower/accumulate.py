"""Dot products that add to their accumulator: LLVM knows no rule that would join the addition to the instruction."""

from typing import Any

from lwc.lower.statements import with_block_body, with_loop_body
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
        return with_loop_body(statement, _rewrite(statement.body))
    if isinstance(statement, s_tir.SBlockRealize):
        block = with_block_body(statement.block, _rewrite(statement.block.body))
        return s_tir.SBlockRealize(statement.iter_values, statement.predicate, block)
    if isinstance(statement, tirx.BufferStore):
        return tirx.BufferStore(statement.buffer, _joined(statement.value), statement.indices)
    return statement


def _joined(value: Any) -> Any:
    if not isinstance(value, tirx.Add) or not is_dot(value.b):
        return value
    x, w, _ = value.b.args
    return tirx.call_intrin(str(value.b.ty), value.b.op.name, x, w, value.a)
