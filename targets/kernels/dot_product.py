"""Four products of 8-bit integers added to a 32-bit one: the step of every INT8 product.

    dot(x, w, y) = y + x0 w0 + x1 w1 + x2 w2 + x3 w3       modulo 2^32

x and w are int32 words of four bytes; those of w are signed, those of x unsigned for `vnni` and `madd`. Each kind is
an intrinsic of its own, which TVM vectorises, and which becomes the processor's instruction when code is generated:

vnni:  vpdpbusd (AVX-512 VNNI), for vectors of 4, 8 or 16 words
madd:  vpmaddwd (AVX2, AVX-512BW) of the even and of the odd bytes, widened to 16 bits
sdot:  sdot (ARMv8.2), for vectors of 4 words
smull: widening multiplication and pairwise addition (ARMv8.0), for vectors of 4 words
dp4a:  dp4a of GPUs, a word at a time

A vector four times as long is multiplied in four parts; a word alone, or in another vector, byte by byte.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from lwc.targets.kernels.interleave import VECTORS, join, split
from lwc.targets.kernels.intrinsic import register_intrinsic
from lwc.tvm_api import tirx

Expression = Any
KINDS = ("vnni", "madd", "sdot", "smull", "dp4a")
_UNSIGNED = ("vnni", "madd")


def dot(kind: str, x: Expression, w: Expression, y: Expression) -> Expression:
    """y plus the four products of the words x and w, for `kind` of `KINDS`."""
    _register()
    return tirx.call_intrin("int32", _name(kind), x, w, y)


def is_dot(expression: Any) -> bool:
    """Whether `expression` is a call of `dot`."""
    names = {_name(kind) for kind in KINDS}
    return getattr(getattr(expression, "op", None), "name", "") in names


def is_signed(kind: str) -> bool:
    """Whether the bytes of x are signed, for `kind` of `KINDS`."""
    return kind not in _UNSIGNED


def whole_vectors(kind: str) -> tuple[int, ...]:
    """How many words are multiplied in four whole vectors, by the length of the vectors, for `kind` of `KINDS`."""
    return tuple(VECTORS * lanes for lanes in _RULES[kind])


def word(byte: Callable[[int], Expression]) -> Expression:
    """The bytes `byte(0)` to `byte(3)`, int8 or uint8, as one int32, the first lowest."""
    parts = [byte(i).astype("uint8").astype("int32") for i in range(4)]
    low, high = parts[0] | (parts[1] << 8), (parts[2] << 16) | (parts[3] << 24)
    return low | high


@cache
def _register() -> None:
    """Tell TVM of the intrinsics, in this process; once, as it refuses a second registration."""
    for kind in KINDS:
        register_intrinsic(_name(kind), partial(_lower, kind), _dp4a if kind == "dp4a" else None)


def _name(kind: str) -> str:
    return f"tirx.lwc_dot_{kind}"


def _lower(kind: str, call: Any) -> Any:
    x, w, y = call.args
    lanes = int(str(call.ty).partition("x")[2] or 1)
    rules = _RULES[kind]
    if lanes in rules:
        return rules[lanes](lanes, x, w, y)
    if lanes in whole_vectors(kind):
        parts = zip(*map(split, (x, w, y)), strict=True)
        return join([rules[lanes // VECTORS](lanes // VECTORS, *part) for part in parts])
    return _by_bytes(kind, lanes, x, w, y)


def _dp4a(call: Any) -> Any:
    return tirx.call_pure_extern("int32", "__dp4a", *call.args)


def _vnni(lanes: int, x: Expression, w: Expression, y: Expression) -> Expression:
    name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
    return _llvm(f"int32x{lanes}", name, y, _as("uint8", 4, lanes, x), _as("int8", 4, lanes, w))


def _sdot(lanes: int, x: Expression, w: Expression, y: Expression) -> Expression:
    name = "llvm.aarch64.neon.sdot.v4i32.v16i8"
    return _llvm("int32x4", name, y, _as("int8", 4, lanes, x), _as("int8", 4, lanes, w))


def _madd(lanes: int, x: Expression, w: Expression, y: Expression) -> Expression:
    name = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}[lanes]
    low = _splat(0x00FF00FF, lanes)
    words = _as("int16", 2, lanes, w)
    eight = tirx.const(8, f"int16x{2 * lanes}")
    even = _llvm(f"int32x{lanes}", name, _as("int16", 2, lanes, x & low), (words << eight) >> eight)
    odd = _llvm(f"int32x{lanes}", name, _as("int16", 2, lanes, (x >> _splat(8, lanes)) & low), words >> eight)
    return y + even + odd


def _smull(lanes: int, x: Expression, w: Expression, y: Expression) -> Expression:
    halves = []
    bytes_x, bytes_w = (_as("int8", 4, lanes, value) for value in (x, w))
    for high in (False, True):
        part = tirx.vectorhigh if high else tirx.vectorlow
        products = _llvm(
            "int16x8", "llvm.aarch64.neon.smull.v8i16", part("int8x8", bytes_x), part("int8x8", bytes_w)
        )
        halves.append(_llvm("int32x4", "llvm.aarch64.neon.saddlp.v4i32.v8i16", products))
    return y + _llvm("int32x4", "llvm.aarch64.neon.addp.v4i32", *halves)


_RULES: dict[str, dict[int, Callable[..., Any]]] = {
    "vnni": dict.fromkeys((4, 8, 16), _vnni),
    "madd": dict.fromkeys((8, 16), _madd),
    "sdot": {4: _sdot},
    "smull": {4: _smull},
    "dp4a": {},
}


def _by_bytes(kind: str, lanes: int, x: Expression, w: Expression, y: Expression) -> Expression:
    for i in range(4):
        left = _byte(x, i, lanes, signed=is_signed(kind))
        y = y + left * _byte(w, i, lanes, signed=True)
    return y


def _byte(value: Expression, i: int, lanes: int, signed: bool) -> Expression:
    byte = (value >> _splat(8 * i, lanes)) & _splat(0xFF, lanes)
    # Not by shifts to the left and back: TVM refuses a constant word whose shift leaves 32 bits.
    return (byte ^ _splat(0x80, lanes)) - _splat(0x80, lanes) if signed else byte


def _splat(value: int, lanes: int) -> Expression:
    return tirx.const(value, "int32" if lanes == 1 else f"int32x{lanes}")


def _as(dtype: str, times: int, lanes: int, value: Expression) -> Expression:
    """The bits of `value` as `times` numbers of `dtype` for each word."""
    return tirx.reinterpret(f"{dtype}x{times * lanes}", value)


def _llvm(dtype: str, name: str, *arguments: Expression) -> Expression:
    return tirx.call_llvm_pure_intrin(dtype, name, *arguments)
