"""Tiles of 16 x 16, which the threads of a warp hold together and multiply on tensor cores.

PTX ISA, "Warp-level matrix instructions" (wmma). Each instruction is described by the loops that it takes the place of;
TVM finds them in a schedule, and prints calls that `lwc/cuda/tensor_cores.h` serves.
"""

from functools import cache
from typing import Any

from lwc.tvm_api import Schedule, TensorIntrin, script

# Rows and columns of a tile.
SIDE = 16
LEFT, RIGHT, SUM = "wmma.matrix_a", "wmma.matrix_b", "wmma.accumulator"
_SHARED = "shared"
# Of elements: where a tile may begin.
_STEP = 4

# What an instruction takes the place of, and what it is.
_Instruction = tuple[Any, Any]


def replace_loops(sch: Schedule, loop: Any, name: str) -> None:
    """Put an instruction in place of the nest `loop`: `load_left`, `load_right`, `multiply`, `zero` or `store`."""
    _register()
    sch.tensorize(loop, f"lwc.{name}")


@cache
def _register() -> None:
    """In this process; once, as TVM refuses a second registration."""
    TensorIntrin.register("lwc.load_left", *_load(LEFT))
    TensorIntrin.register("lwc.load_right", *_load(RIGHT))
    TensorIntrin.register("lwc.multiply", *_multiply())
    TensorIntrin.register("lwc.zero", *_zero())
    TensorIntrin.register("lwc.store", *_store())


def _tile(handle: Any, dtype: str, scope: str, strides: Any = None) -> Any:
    """A tile that lies anywhere in a buffer; `strides`: variables for those of its rows and columns."""
    return script.match_buffer(
        handle, (SIDE, SIDE), dtype, strides=strides, align=64, offset_factor=_STEP, scope=scope
    )


def _number(tile: Any) -> Any:
    """Which of the tiles in its buffer `tile` is."""
    row = tile.strides[0]
    return tile.elem_offset // row // SIDE * (row // SIDE) + tile.elem_offset % row // SIDE


def _copy(dtype: str, origin: str, place: str) -> Any:
    """What a load or a store takes the place of."""

    @script.prim_func(s_tir=True)
    def loops(a: script.handle, b: script.handle) -> None:
        source, copy = _tile(a, dtype, origin), _tile(b, dtype, place)
        with script.sblock("root"):
            script.reads(source[0:SIDE, 0:SIDE])
            script.writes(copy[0:SIDE, 0:SIDE])
            for i, j in script.grid(SIDE, SIDE):
                with script.sblock("copy"):
                    v, w = script.axis.remap("SS", [i, j])
                    copy[v, w] = source[v, w]

    return loops


def _load(scope: str) -> _Instruction:
    @script.prim_func(s_tir=True)
    def load(a: script.handle, b: script.handle) -> None:
        p, q, r, s = script.int32(), script.int32(), script.int32(), script.int32()
        source, tile = _tile(a, "float16", _SHARED, [p, q]), _tile(b, "float16", scope, [r, s])
        with script.sblock("root"):
            script.reads(source[0:SIDE, 0:SIDE])
            script.writes(tile[0:SIDE, 0:SIDE])
            address = script.meta_var(source.access_ptr("r", ptr_type="float16"))
            place = script.meta_var((tile.data, SIDE, SIDE, SIDE, _number(tile)))
            script.evaluate(script.tvm_load_matrix_sync(*place, address, p, "row_major", dtype="void"))

    return _copy("float16", _SHARED, scope), load


def _store() -> _Instruction:
    @script.prim_func(s_tir=True)
    def store(a: script.handle, b: script.handle) -> None:
        p, q, r, s = script.int32(), script.int32(), script.int32(), script.int32()
        tile, result = _tile(a, "float32", SUM, [p, q]), _tile(b, "float32", _SHARED, [r, s])
        with script.sblock("root"):
            script.reads(tile[0:SIDE, 0:SIDE])
            script.writes(result[0:SIDE, 0:SIDE])
            address = script.meta_var(result.access_ptr("w", ptr_type="float32"))
            place = script.meta_var((tile.data, SIDE, SIDE, SIDE, _number(tile)))
            script.evaluate(script.tvm_store_matrix_sync(*place, address, r, "row_major", dtype="void"))

    return _copy("float32", SUM, _SHARED), store


def _zero() -> _Instruction:
    @script.prim_func(s_tir=True)
    def loops(a: script.handle) -> None:
        tile = _tile(a, "float32", SUM)
        with script.sblock("root"):
            script.reads()
            script.writes(tile[0:SIDE, 0:SIDE])
            for i, j in script.grid(SIDE, SIDE):
                with script.sblock("zero"):
                    v, w = script.axis.remap("SS", [i, j])
                    tile[v, w] = script.float32(0)

    @script.prim_func(s_tir=True)
    def fill(a: script.handle) -> None:
        p, q = script.int32(), script.int32()
        tile = _tile(a, "float32", SUM, [p, q])
        with script.sblock("root"):
            script.reads()
            script.writes(tile[0:SIDE, 0:SIDE])
            place = script.meta_var((tile.data, SIDE, SIDE, SIDE, _number(tile)))
            script.evaluate(script.tvm_fill_fragment(*place, script.float32(0), dtype="void"))

    return loops, fill


def _multiply() -> _Instruction:
    @script.prim_func(s_tir=True)
    def loops(a: script.handle, b: script.handle, c: script.handle) -> None:
        left, right, sums = _tile(a, "float16", LEFT), _tile(b, "float16", RIGHT), _tile(c, "float32", SUM)
        with script.sblock("root"):
            script.reads(sums[0:SIDE, 0:SIDE], left[0:SIDE, 0:SIDE], right[0:SIDE, 0:SIDE])
            script.writes(sums[0:SIDE, 0:SIDE])
            for i, j, k in script.grid(SIDE, SIDE, SIDE):
                with script.sblock("multiply"):
                    v, w, u = script.axis.remap("SSR", [i, j, k])
                    sums[v, w] = sums[v, w] + script.cast(left[v, u], "float32") * script.cast(
                        right[u, w], "float32"
                    )

    @script.prim_func(s_tir=True)
    def multiply(a: script.handle, b: script.handle, c: script.handle) -> None:
        p, q, r = script.int32(), script.int32(), script.int32()
        s, t, u = script.int32(), script.int32(), script.int32()
        left, right = _tile(a, "float16", LEFT, [p, q]), _tile(b, "float16", RIGHT, [r, s])
        sums = _tile(c, "float32", SUM, [t, u])
        with script.sblock("root"):
            script.reads(sums[0:SIDE, 0:SIDE], left[0:SIDE, 0:SIDE], right[0:SIDE, 0:SIDE])
            script.writes(sums[0:SIDE, 0:SIDE])
            place = script.meta_var((sums.data, _number(sums)))
            operands = script.meta_var((left.data, _number(left), right.data, _number(right)))
            script.evaluate(script.tvm_mma_sync(*place, *operands, *place, dtype="void"))

    return loops, multiply
