"""What the fields of a Target may hold."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lwc.targets.gpu import Gpu

if TYPE_CHECKING:
    from lwc.targets.target import Target

# Architecture -> LLVM feature -> the name in /proc/cpuinfo.
CPUINFO_NAMES = {
    "x86_64": {
        "avx2": "avx2",
        "fma": "fma",
        "bmi2": "bmi2",
        "avx512f": "avx512f",
        "avx512bw": "avx512bw",
        "avx512cd": "avx512cd",
        "avx512dq": "avx512dq",
        "avx512vl": "avx512vl",
        "avx512vnni": "avx512_vnni",
    },
    "aarch64": {"neon": "asimd", "dotprod": "asimddp", "i8mm": "i8mm"},
}

Check = Callable[[Any], bool]


def what_is_wrong(target: "Target") -> str | None:
    """The first field whose value no target can have, and what is allowed; None where all are right."""
    for name, (right, allowed) in _FIELDS.items():
        value = getattr(target, name)
        if not right(value):
            return f"its {name} is {value!r:.80}, not {allowed}"
    if target.gpu is not None and (wrong := _wrong_in_gpu(target.gpu)) is not None:
        return wrong
    known = tuple(CPUINFO_NAMES[target.architecture].values())
    for name in target.cpu_features:
        if name not in known:
            return f"its cpu_features have {name!r:.80}, which no library can check, not {_either(known)}"
    return None


def _wrong_in_gpu(gpu: Any) -> str | None:
    if not isinstance(gpu, Gpu):
        return f"its gpu is {gpu!r:.80}, not a Gpu"
    for name, (right, allowed) in _GPU_FIELDS.items():
        if not right(getattr(gpu, name)):
            return f"its gpu's {name} is {getattr(gpu, name)!r:.80}, not {allowed}"
    return None


def _either(choices: Sequence[Any]) -> str:
    return f"{', '.join(map(str, choices[:-1]))} or {choices[-1]}"


def _text(pattern: str) -> Check:
    whole = re.compile(pattern, re.ASCII)
    return lambda value: isinstance(value, str) and whole.fullmatch(value) is not None


def _names(pattern: str) -> Check:
    return lambda value: isinstance(value, tuple) and all(map(_text(pattern), value))


def _one_of(*choices: Any) -> tuple[Check, str]:
    # The types, too: True is 1.
    return lambda value: type(value) is type(choices[0]) and value in choices, _either(choices)


def _whole(low: int, high: int) -> tuple[Check, str]:
    return lambda value: type(value) is int and low <= value <= high, f"a whole number from {low} to {high}"


_LINE = (lambda value: isinstance(value, str) and value != "" and value.isprintable(), "a line of text")
_FLAG = _one_of(False, True)

_FIELDS: dict[str, tuple[Check, str]] = {
    "name": _LINE,
    "description": _LINE,
    "triple": _one_of(*(f"{architecture}-linux-gnu" for architecture in CPUINFO_NAMES)),
    "cpu": (_text(r"[\w.-]+"), "a processor's name"),
    "features": (_names(r"[+-][\w.-]+"), "a tuple of names with their signs, as in ('+dotprod',)"),
    "cpu_features": (_names(r"\w+"), "a tuple of names"),
    "vector_bits": _one_of(128, 256, 512),
    "vector_registers": _one_of(16, 32),
    "int8_dot": _FLAG,
    "i8mm": _FLAG,
    "l1_bytes": _whole(1 << 10, 1 << 24),
    "l2_bytes": _whole(1 << 10, 1 << 30),
    "cores": _whole(1, 1 << 16),
    "glibc": (_text(r"2\.(1[7-9]|[2-9]\d)"), "a version from 2.17 on"),
}

_GPU_FIELDS: dict[str, tuple[Check, str]] = {
    "architecture": (_text(r"sm_[1-9]\d{1,2}"), "named as in sm_80"),
    "multiprocessors": _whole(1, 1 << 10),
    "shared_bytes": _whole(1 << 14, 1 << 20),
    "warp": (lambda value: value == 32, "32"),
    "block_threads": _whole(256, 1 << 10),
    "numbers": _one_of("float32", "float16"),
}
