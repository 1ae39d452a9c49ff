"""Four neighbouring bytes as one word: GPUs read them at once, at an address that is a multiple of four."""

from functools import cache
from typing import Any

from lwc.targets.kernels.intrinsic import register_intrinsic
from lwc.tvm_api import tirx

Expression = Any
_WORD = "tirx.lwc_word"
# In the source of every module of kernels.
WORD_FUNCTION = "lwc_word"


def word_at(first: Expression) -> Expression:
    """The int32 whose lowest byte is `first`, an element of an operand of the function, and the three after that."""
    _register()
    return tirx.call_intrin("int32", _WORD, first)


def byte_of(word: Expression, place: Expression) -> Expression:
    """Byte number `place` of a word, from the lowest, signed, as an int32."""
    return (word << (tirx.const(24, "int32") - tirx.const(8, "int32") * place)) >> tirx.const(24, "int32")


@cache
def _register() -> None:
    register_intrinsic(_WORD, _refuse, _lower)


def _refuse(call: Any) -> Any:
    raise ValueError("words are read so on GPUs only")


def _lower(call: Any) -> Any:
    return tirx.call_pure_extern("int32", WORD_FUNCTION, tirx.address_of(call.args[0]))
