"""Intrinsics of lwc's own: TVM vectorises a call, and a rule says what it becomes when code is generated for a CPU."""

from collections.abc import Callable
from typing import Any

from lwc.tvm_api import register_intrin_lowering, register_op_attr

# TVM's number for calls without side effects.
_PURE = 1
_BEFORE_TVM_OWN = 100


def register_intrinsic(name: str, rule: Callable[[Any], Any]) -> None:
    """Tell TVM of the intrinsic `name`, in this process; once, as it refuses a second registration.

    `rule` makes the expression of a call, whose operands may be vectors.
    """
    vectorize_calls(name)
    register_op_attr(name, "TCallEffectKind", _PURE)
    register_lowering(name, rule)


def vectorize_calls(name: str) -> None:
    """Let a call of `name` take vectors; else TVM makes scalars of the whole statement that has one; also once."""
    register_op_attr(name, "TVectorizable", True)


def register_lowering(name: str, rule: Callable[[Any], Any]) -> None:
    """Put `rule` before TVM's own for an operation that TVM has; also once."""
    register_intrin_lowering(name, target="llvm", f=rule, level=_BEFORE_TVM_OWN)
