"""Prefetching what a reduction will read: a schedule marks the loop, this pass of TensorIR fetches ahead of it."""

from typing import Any

from lwc.lower.statements import with_block_body, with_loop_body
from lwc.targets.kernels.prefetch import PREFETCH
from lwc.tvm_api import s_tir, tirx

_LINE_FLOATS = 16  # of a cache line of 64 bytes
_READ, _KEEP_NEAR, _DATA = 0, 3, 1  # arguments of LLVM's `prefetch`


def insert_prefetches(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """`function` with a fetch of each cache line of the last operand that a marked loop reads, some steps ahead.

    Given   for k: y += x[k] * w[panel, k, 0:nr]
    Result  for k: prefetch w[panel, k + distance, 0:nr]; y += x[k] * w[panel, k, 0:nr]

    Past the end of a panel this reaches into the next, which follows in memory; past the last it fetches nothing
    that is used, and an address outside of all memory is no fault for a prefetch.
    """
    return function.with_body(_rewrite(function.body))


def _rewrite(statement: Any) -> Any:
    if isinstance(statement, tirx.SeqStmt):
        return tirx.SeqStmt([_rewrite(part) for part in statement.seq])
    if isinstance(statement, s_tir.SBlockRealize) and not statement.iter_values:
        block = statement.block
        return s_tir.SBlockRealize([], statement.predicate, with_block_body(block, _rewrite(block.body)))
    if not isinstance(statement, tirx.For):
        return statement
    if PREFETCH not in statement.annotations:
        return _with_body(statement, _rewrite(statement.body))
    distance = int(statement.annotations[PREFETCH])
    fetches = _fetches(statement.body, statement.loop_var, distance)
    return _with_body(statement, tirx.SeqStmt([*fetches, statement.body]))


def _with_body(loop: Any, body: Any) -> Any:
    annotations = {key: value for key, value in loop.annotations.items() if key != PREFETCH}
    return with_loop_body(loop, body, annotations)


def _fetches(body: Any, variable: Any, distance: int) -> list[Any]:
    """Prefetches of what the block in `body` reads last, `distance` steps of `variable` ahead, in whole lines."""
    values = {variable: variable + distance}
    while isinstance(body, tirx.For):
        values[body.loop_var] = tirx.const(0, str(body.loop_var.ty))
        body = body.body
    block = body.block
    values |= {
        axis.var: _substitute(value, values)
        for axis, value in zip(block.iter_vars, body.iter_values, strict=True)
    }
    operand = block.reads[-1]
    *place, _ = (_substitute(extent.min, values) for extent in operand.region)
    columns = int(operand.source.ty.shape[-1])
    return [_fetch(operand.source, [*place, column]) for column in range(0, columns, _LINE_FLOATS)]


def _fetch(source: Any, place: list[Any]) -> Any:
    address = tirx.address_of(tirx.BufferLoad(source, place))
    return tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, _READ, _KEEP_NEAR, _DATA))


def _substitute(expression: Any, values: dict[Any, Any]) -> Any:
    """`expression`, of variables, numbers and binary operations, with variables replaced."""
    if isinstance(expression, tirx.Var):
        return next((value for key, value in values.items() if key.same_as(expression)), expression)
    if hasattr(expression, "a") and hasattr(expression, "b"):
        return type(expression)(_substitute(expression.a, values), _substitute(expression.b, values))
    if isinstance(expression, tirx.IntImm):
        return expression
    raise TypeError(
        f"the place of what is fetched ahead holds {type(expression).__name__}, which is not followed"
    )
