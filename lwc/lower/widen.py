"""Functions of float16 tensors that compute in float32: each result is rounded once, however long the chain before it.

TVM computes with numbers of the type that the tensors have, sums included. Here each such function becomes the same one
on float32, between stages that widen its inputs and round its results; its schedule computes those along the way.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lwc.tvm_api import s_tir, structural_map, structural_walk, te, tirx, tvm

_HALF, _SINGLE = "float16", "float32"
_LARGEST = {dtype: float(np.finfo(dtype).max) for dtype in (_HALF, _SINGLE)}
_BINARY = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Min, tirx.Max)


def computed_in_float32(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """`function`, not scheduled yet, with all that lies between its operands in float32 where these are float16."""
    halves = [str(operand.ty.dtype) == _HALF for operand in function.params]
    if not any(halves):
        return function
    single = _on_float32(function)
    root = single.body.block
    written = _written(root)
    operands, inside, before, after = [], [], [], []
    for operand, half in zip(single.params, halves, strict=True):
        if not half:
            operands.append(operand)
            continue
        stored = tirx.decl_buffer(operand.ty.shape, _HALF, operand.name)
        operands.append(stored)
        inside.append(operand)
        if any(operand.same_as(buffer) for buffer in written):
            after.append(_converted(operand, stored, "rounded"))
        else:
            before.append(_converted(stored, operand, "widened"))
    body = tirx.SeqStmt([*before, root.body, *after])
    block = s_tir.SBlock([], [], [], "root", body, alloc_buffers=[*root.alloc_buffers, *inside])
    realized = s_tir.SBlockRealize([], True, block)
    return tirx.PrimFunc(operands, realized, single.ret_type, attrs=single.attrs)


def _on_float32(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """`function` as if its float16 operands were float32."""
    variables: dict[Any, Any] = {}

    def renamed(variable: Any) -> Any:
        return variables.setdefault(variable, tirx.Var(variable.name, _SINGLE))

    # TVM still takes these for float16 when what they are made of is float32.
    rebuilt = {
        tvm.ir.Var: renamed,
        tvm.ir.Call: lambda call: tirx.call_intrin(_SINGLE, call.op.name, *call.args),
        tirx.FloatImm: lambda number: tirx.const(float(number.value), _SINGLE),
        tirx.Cast: lambda cast: cast.value.astype(_SINGLE),
        tirx.Select: lambda choice: tirx.Select(choice.condition, choice.true_value, choice.false_value),
        **dict.fromkeys(_BINARY, lambda value: type(value)(value.a, value.b)),
    }
    rules = [(kind, _where_half(rule)) for kind, rule in rebuilt.items()]
    return structural_map(function, [(tvm.ir.PrimType, _number), (s_tir.SBlock, _with_own_identity), *rules])


def _number(number: Any) -> Any:
    """The type of numbers in the place of the type `number`."""
    return tvm.ir.PrimType(_SINGLE) if str(number.dtype) == _HALF else number


def _where_half(rule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: rule(value) if str(value.ty) == _HALF else value


def _with_own_identity(block: Any) -> Any:
    """`block` whose maximum or minimum begins with float32's extreme, by which TVM knows it, not with float16's."""
    if block.init is None:
        return block
    init = structural_map(block.init, (tirx.FloatImm, _extreme))
    parts = (block.iter_vars, block.reads, block.writes, block.name_hint, block.body, init)
    return s_tir.SBlock(*parts, block.alloc_buffers, block.match_buffers, block.annotations)


def _extreme(value: Any) -> Any:
    number = float(value.value)
    if abs(number) != _LARGEST[_HALF]:
        return value
    return tirx.const(math.copysign(_LARGEST[_SINGLE], number), _SINGLE)


def _written(root: Any) -> list[Any]:
    """The buffers that the blocks in `root` write."""
    found: list[Any] = []
    structural_walk(root.body, (s_tir.SBlock, lambda block: found.extend(w.source for w in block.writes)))
    return found


def _converted(source: Any, result: Any, name: str) -> Any:
    """The loops of a stage `name` that gives the elements of `source` the type of `result`."""
    given = te.placeholder(source.ty.shape, str(source.ty.dtype))
    stage = te.compute(given.shape, lambda *at: given(*at).astype(str(result.ty.dtype)), name=name)
    function = te.create_prim_func([given, stage])
    operands = list(zip(function.params, (source, result), strict=True))

    def rename(variable: Any) -> Any:
        return next((new for old, new in operands if old.same_as(variable)), variable)

    return structural_map(function.body.block.body, (tvm.ir.Var, rename))
