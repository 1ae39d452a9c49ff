"""Intrinsics of lwc's own: TVM vectorises a call, and a rule says what it becomes when code is generated."""

from collections.abc import Callable
from typing import Any

from lwc.tvm_api import register_intrin_lowering, register_op_attr

# Gives the expression of a call.
Rule = Callable[[Any], Any]

# TVM's number for calls without side effects.
_PURE = 1
_BEFORE_TVM_OWN = 100


def register_intrinsic(name: str, rule: Rule, gpu_rule: Rule | None = None) -> None:
    """Tell TVM of the intrinsic `name`, in this process; once, as it refuses a second registration.

    `rule` makes the expression of a call on a CPU, whose operands may be vectors, `gpu_rule` that on a GPU.
    """
    vectorize_calls(name)
    register_op_attr(name, "TCallEffectKind", _PURE)
    register_lowering(name, rule)
    if gpu_rule is not None:
        register_lowering(name, gpu_rule, "cuda")


def vectorize_calls(name: str) -> None:
    """Let a call of `name` take vectors; else TVM makes scalars of the whole statement that has one; also once."""
    register_op_attr(name, "TVectorizable", True)


def register_lowering(name: str, rule: Rule, target: str = "llvm") -> None:
    """Put `rule` before TVM's own for an operation that TVM has; also once for each kind of target."""
    register_intrin_lowering(name, target=target, f=rule, level=_BEFORE_TVM_OWN)
