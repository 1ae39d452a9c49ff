"""Bytes of four rows of channels as words, and words as bytes, whole vectors at a time.

Instructions that interleave bytes do so within each 128 bits of a vector, and so do those that narrow. The words of 16,
32 or 64 channels make four vectors, in which they are in an `order` of their own: what is stored by channel and meets
them has to be in this order, too. The intrinsics need all these channels at once.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lwc.targets.kernels.intrinsic import register_intrinsic
from lwc.tvm_api import tirx

Expression = Any

_INTERLEAVE, _NARROW = "tirx.lwc_interleave", "tirx.lwc_narrow"
VECTORS = 4  # of words, from one of bytes
# In 128 bits.
_BYTES, _HALVES, _WORDS = 16, 8, 4


def order(lanes: int) -> NDArray[np.int64]:
    """The channel, of `lanes` (16, 32 or 64), whose word is at each place."""
    return np.arange(lanes).reshape(-1, VECTORS, _WORDS).transpose(1, 0, 2).ravel()


def interleave(rows: Sequence[Expression]) -> Expression:
    """A vector of words from the same channels of four rows, the first row's bytes lowest; in `order`."""
    _register()
    return tirx.call_intrin("int32", _INTERLEAVE, *rows)


def narrow(words: Expression, dtype: str) -> Expression:
    """Words in `order`, saturated to `dtype` (uint8 or int8), in the channels' own order; on x86 alone."""
    _register()
    return tirx.call_intrin(dtype, _NARROW, words)


def split(value: Expression) -> list[Expression]:
    """The four parts of a vector."""
    lanes = _lanes(value) // VECTORS
    return [tirx.Shuffle([value], list(range(part * lanes, (part + 1) * lanes))) for part in range(VECTORS)]


def join(parts: Sequence[Expression]) -> Expression:
    """Vectors as one."""
    return tirx.Shuffle(list(parts), list(range(sum(_lanes(part) for part in parts))))


@cache
def _register() -> None:
    register_intrinsic(_INTERLEAVE, _lower_interleave)
    register_intrinsic(_NARROW, _lower_narrow)


def _lower_interleave(call: Any) -> Any:
    lanes = _lanes(call)
    first, second, third, fourth = call.args
    words = []
    for high in (False, True):
        halves = [_unpack(a, b, _BYTES, high) for a, b in ((first, second), (third, fourth))]
        low, up = (tirx.reinterpret(f"uint16x{lanes // 2}", half) for half in halves)
        words += [_unpack(low, up, _HALVES, upper) for upper in (False, True)]
    return join([tirx.reinterpret(f"int32x{lanes // VECTORS}", word) for word in words])


def _unpack(a: Expression, b: Expression, size: int, high: bool) -> Expression:
    """The low or the high halves of each `size` elements of a and b, in turn one of each."""
    lanes = _lanes(a)
    places = np.arange(lanes).reshape(-1, 2, size // 2)[:, int(high)].ravel()
    return tirx.Shuffle([a, b], [int(place) for pair in places for place in (pair, lanes + pair)])


def _lower_narrow(call: Any) -> Any:
    bits = 8 * _lanes(call)
    to_halves, to_bytes = _PACKS[bits]
    to_bytes = to_bytes.format("u" if str(call.ty).startswith("uint8") else "s")
    a, b, c, d = split(call.args[0])
    halves = [
        tirx.call_llvm_pure_intrin(f"int16x{bits // 16}", to_halves, *pair) for pair in ((a, b), (c, d))
    ]
    return tirx.call_llvm_pure_intrin(str(call.ty), to_bytes, *halves)


_PACKS = {
    128: ("llvm.x86.sse2.packssdw.128", "llvm.x86.sse2.pack{}swb.128"),
    256: ("llvm.x86.avx2.packssdw", "llvm.x86.avx2.pack{}swb"),
    512: ("llvm.x86.avx512.packssdw.512", "llvm.x86.avx512.pack{}swb.512"),
}


def _lanes(value: Any) -> int:
    return int(str(value.ty).partition("x")[2] or 1)
