"""16 x 16 tiles of matrices, which the threads of a warp hold together and multiply on tensor cores ("wmma").

PTX ISA, "Warp-level matrix instructions". TVM replaces the loops of a stage by these where they are described here.
"""

from functools import cache
from typing import Any

from lwc.tvm_api import Schedule, T, TensorIntrin

# Rows and columns of a tile.
SIDE = 16
LEFT, RIGHT, SUM = "wmma.matrix_a", "wmma.matrix_b", "wmma.accumulator"


def replace_loops(sch: Schedule, loop: Any, name: str) -> None:
    """Put the instruction `name` (lwc.load_left, load_right, multiply, zero or store) in place of the nest `loop`."""
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


def _number(tile: Any, stride: Any) -> Any:
    """Which of the tiles of its buffer `tile` is; `stride` is that of the buffer's rows."""
    return tile.elem_offset // stride // SIDE * (stride // SIDE) + tile.elem_offset % stride // SIDE


def _load(scope: str) -> tuple[Any, Any]:
    """From shared memory; gives what is described, and what is done."""

    @T.prim_func(s_tir=True)
    def described(a: T.handle, b: T.handle) -> None:
        A = T.match_buffer(a, (SIDE, SIDE), "float16", align=64, offset_factor=8, scope="shared")
        B = T.match_buffer(b, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope=scope)
        with T.sblock("root"):
            T.reads(A[0:SIDE, 0:SIDE])
            T.writes(B[0:SIDE, 0:SIDE])
            for i, j in T.grid(SIDE, SIDE):
                with T.sblock("load"):
                    v, w = T.axis.remap("SS", [i, j])
                    B[v, w] = A[v, w]

    @T.prim_func(s_tir=True)
    def done(a: T.handle, b: T.handle) -> None:
        row, one, stride, each = T.int32(), T.int32(), T.int32(), T.int32()
        A = T.match_buffer(
            a, (SIDE, SIDE), "float16", align=64, offset_factor=8, scope="shared", strides=[row, one]
        )
        B = T.match_buffer(
            b, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope=scope, strides=[stride, each]
        )
        with T.sblock("root"):
            T.reads(A[0:SIDE, 0:SIDE])
            T.writes(B[0:SIDE, 0:SIDE])
            T.evaluate(
                T.tvm_load_matrix_sync(
                    B.data,
                    SIDE,
                    SIDE,
                    SIDE,
                    _number(B, stride),
                    A.access_ptr("r", ptr_type="float16"),
                    row,
                    "row_major",
                    dtype="void",
                )
            )

    return described, done


def _zero() -> tuple[Any, Any]:
    @T.prim_func(s_tir=True)
    def described(c: T.handle) -> None:
        C = T.match_buffer(c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope=SUM)
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:SIDE, 0:SIDE])
            for i, j in T.grid(SIDE, SIDE):
                with T.sblock("zero"):
                    v, w = T.axis.remap("SS", [i, j])
                    C[v, w] = T.float32(0)

    @T.prim_func(s_tir=True)
    def done(c: T.handle) -> None:
        stride, each = T.int32(), T.int32()
        C = T.match_buffer(
            c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope=SUM, strides=[stride, each]
        )
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:SIDE, 0:SIDE])
            T.evaluate(
                T.tvm_fill_fragment(C.data, SIDE, SIDE, SIDE, _number(C, stride), T.float32(0), dtype="void")
            )

    return described, done


def _store() -> tuple[Any, Any]:
    """To shared memory."""

    @T.prim_func(s_tir=True)
    def described(c: T.handle, d: T.handle) -> None:
        C = T.match_buffer(c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope=SUM)
        D = T.match_buffer(d, (SIDE, SIDE), "float32", align=64, offset_factor=4, scope="shared")
        with T.sblock("root"):
            T.reads(C[0:SIDE, 0:SIDE])
            T.writes(D[0:SIDE, 0:SIDE])
            for i, j in T.grid(SIDE, SIDE):
                with T.sblock("store"):
                    v, w = T.axis.remap("SS", [i, j])
                    D[v, w] = C[v, w]

    @T.prim_func(s_tir=True)
    def done(c: T.handle, d: T.handle) -> None:
        row, one, stride, each = T.int32(), T.int32(), T.int32(), T.int32()
        C = T.match_buffer(
            c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope=SUM, strides=[stride, each]
        )
        D = T.match_buffer(
            d, (SIDE, SIDE), "float32", align=64, offset_factor=4, scope="shared", strides=[row, one]
        )
        with T.sblock("root"):
            T.reads(C[0:SIDE, 0:SIDE])
            T.writes(D[0:SIDE, 0:SIDE])
            T.evaluate(
                T.tvm_store_matrix_sync(
                    C.data,
                    SIDE,
                    SIDE,
                    SIDE,
                    _number(C, stride),
                    D.access_ptr("w", ptr_type="float32"),
                    row,
                    "row_major",
                    dtype="void",
                )
            )

    return described, done


def _multiply() -> tuple[Any, Any]:
    @T.prim_func(s_tir=True)
    def described(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope=LEFT)
        B = T.match_buffer(b, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope=RIGHT)
        C = T.match_buffer(c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope=SUM)
        with T.sblock("root"):
            T.reads(C[0:SIDE, 0:SIDE], A[0:SIDE, 0:SIDE], B[0:SIDE, 0:SIDE])
            T.writes(C[0:SIDE, 0:SIDE])
            for i, j, k in T.grid(SIDE, SIDE, SIDE):
                with T.sblock("multiply"):
                    v, w, u = T.axis.remap("SSR", [i, j, k])
                    C[v, w] = C[v, w] + T.cast(A[v, u], "float32") * T.cast(B[u, w], "float32")

    @T.prim_func(s_tir=True)
    def done(a: T.handle, b: T.handle, c: T.handle) -> None:
        p, q, r, s, t, u = T.int32(), T.int32(), T.int32(), T.int32(), T.int32(), T.int32()
        A = T.match_buffer(
            a, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope=LEFT, strides=[p, q]
        )
        B = T.match_buffer(
            b, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope=RIGHT, strides=[r, s]
        )
        C = T.match_buffer(
            c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope=SUM, strides=[t, u]
        )
        with T.sblock("root"):
            T.reads(C[0:SIDE, 0:SIDE], A[0:SIDE, 0:SIDE], B[0:SIDE, 0:SIDE])
            T.writes(C[0:SIDE, 0:SIDE])
            T.evaluate(
                T.tvm_mma_sync(
                    C.data,
                    _number(C, t),
                    A.data,
                    _number(A, p),
                    B.data,
                    _number(B, r),
                    C.data,
                    _number(C, t),
                    dtype="void",
                )
            )

    return described, done
