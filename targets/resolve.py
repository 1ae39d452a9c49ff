"""From the text of `--target` to a Target: a name, `native`, `cuda`, or `triple=...,cpu=...,features=...`."""

import difflib
import platform
from importlib import import_module

from lwc.errors import BadInputError, UnsupportedError, UsageError
from lwc.files import shortened
from lwc.targets import cuda
from lwc.targets.check import CPUINFO_NAMES
from lwc.targets.gpu_at_hand import architecture_at_hand
from lwc.targets.installed import installed_targets, load_installed
from lwc.targets.native import native_target
from lwc.targets.target import Target
from lwc.targets.x86_64_v4 import FULL_WIDTH

# name -> module, imported when asked for.
TARGETS = {
    "x86-64-v3": "lwc.targets.x86_64_v3",
    "x86-64-v4": "lwc.targets.x86_64_v4",
    "x86-64-v4-vnni": "lwc.targets.x86_64_v4_vnni",
    "arm64": "lwc.targets.arm64",
    "cortex-a72": "lwc.targets.cortex_a72",
    "cortex-a76": "lwc.targets.cortex_a76",
    "neoverse-n1": "lwc.targets.neoverse_n1",
}
OWN = ("native", *TARGETS, "cuda", *cuda.NAMES)

# Errors and the manifest repeat it.
_LONGEST = 400

# Architecture -> what a CPU's name alone would switch on in LLVM, unchecked when the library is opened.
_UNCHECKED = {
    "x86_64": (
        "avx512vbmi",
        "avx512vbmi2",
        "avx512ifma",
        "avx512bf16",
        "avx512fp16",
        "avx512bitalg",
        "avx512vpopcntdq",
        "avx512vp2intersect",
        "avxvnni",
        "avxvnniint8",
        "avxifma",
        "amx-tile",
        "gfni",
        "vaes",
        "vpclmulqdq",
        "xop",
        "fma4",
    ),
    "aarch64": ("sve", "sme", "bf16", "fullfp16"),
}


def target_names() -> tuple[str, ...]:
    """Every name that `resolve_target` knows: `native`, lwc's own, those of installed packages."""
    return (*OWN, *(name for name in installed_targets() if name not in OWN))


def resolve_target(text: str) -> Target:
    """The target that `text` names.

    Raises UsageError for an unknown name or a malformed custom target,
    UnsupportedError for a machine that lwc has no code for, BadInputError for an installed target that cannot be
    used.
    """
    if len(text) > _LONGEST:
        raise UsageError(f"target {shortened(text)}: has more than {_LONGEST} characters; give a shorter one")
    if text == "native":
        return native_target()
    if text == "cuda" or text.startswith((cuda.PREFIX, "cuda,")):
        return _cuda_target(text)
    if text in TARGETS:
        target = import_module(TARGETS[text]).TARGET
        assert isinstance(target, Target)
        return target
    if "=" in text:
        return _custom_target(text)
    installed = installed_targets()
    if text in installed:
        return load_installed(installed[text], OWN)
    near = difflib.get_close_matches(text, target_names(), n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(target_names())}"
    raise UsageError(f"target {text!r}: unknown; {hint}")


def _cuda_target(text: str) -> Target:
    name, separator, host = text.partition(",host=")
    if separator and host not in CPUINFO_NAMES:
        raise UsageError(f"target {text!r}: host {host!r} is unknown; choose from {', '.join(CPUINFO_NAMES)}")
    if name == "cuda":
        return _gpu_at_hand(host or platform.machine())
    if name not in cuda.NAMES:
        raise UsageError(f"target {text!r}: unknown; choose from {', '.join(cuda.NAMES)}")
    return cuda.cuda_target(name.removeprefix(cuda.PREFIX), host)


def _gpu_at_hand(host: str) -> Target:
    """The newest target that the GPU of this machine runs."""
    at_hand = architecture_at_hand()
    targets = [cuda.cuda_target(name.removeprefix(cuda.PREFIX), host) for name in cuda.NAMES]
    fitting = [target for target in targets if target.gpu is not None and target.gpu.runs_on(at_hand)]
    if not fitting:
        raise UnsupportedError(
            f"target 'cuda': the GPU of this machine is of {at_hand}; lwc compiles for {cuda.NAMES[0]} and later"
        )
    return fitting[-1]


def _custom_target(text: str) -> Target:
    fields = _parse_fields(text)
    triple = fields.get("triple", "")
    architecture = triple.split("-")[0]
    if architecture not in CPUINFO_NAMES:
        raise UnsupportedError(
            f"target {text!r}: triple {triple!r} is not supported; use x86_64-linux-gnu or aarch64-linux-gnu"
        )
    if triple.split("-")[-2:] != ["linux", "gnu"]:
        raise UnsupportedError(
            f"target {text!r}: only Linux with glibc is supported; use {architecture}-linux-gnu"
        )
    known = CPUINFO_NAMES[architecture]
    names = {name for name in fields.get("features", "").split("+") if name}
    for name in sorted(names - set(known)):
        raise UsageError(f"target {text!r}: feature {name!r} is unknown; choose from {', '.join(known)}")
    if any(name.startswith("avx512") for name in names):
        # All the others build on it.
        names |= {"avx512f"}
    try:
        return _with_capabilities(text, architecture, fields.get("cpu", "generic"), names)
    except ValueError as error:
        raise UsageError(f"target {text!r}: {error}; write it as in cpu=cortex-a55") from None


def _parse_fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in text.split(","):
        key, separator, value = part.partition("=")
        if key not in ("triple", "cpu", "features") or not separator or not value or key in fields:
            raise UsageError(
                f"target {text!r}: {part!r} is not understood; write triple=...,cpu=...,features=a+b"
            )
        fields[key] = value
    if "triple" not in fields:
        raise UsageError(f"target {text!r}: triple=... is missing; for example triple=aarch64-linux-gnu")
    return fields


def _with_capabilities(text: str, architecture: str, cpu: str, names: set[str]) -> Target:
    """A target whose capabilities follow from its features alone: the CPU's name only tunes the code."""
    x86 = architecture == "x86_64"
    wide = "avx512f" in names
    if x86 and not wide and not {"avx2", "fma"} <= names:
        raise BadInputError(
            f"target {text!r}: lwc needs AVX2 and FMA on x86-64; add features=avx2+fma or more"
        )
    cpuinfo = CPUINFO_NAMES[architecture]
    features = tuple(f"+{name}" for name in sorted(names)) + ((FULL_WIDTH,) if wide else ())
    if cpu != "generic":
        implied = {"neon", "avx2", "fma"} if wide else {"neon"}
        unchecked = sorted({*cpuinfo, *_UNCHECKED[architecture]} - names - implied)
        features += tuple(f"-{name}" for name in unchecked)
    return Target(
        name=text,
        description="given on the command line",
        triple=f"{architecture}-linux-gnu",
        cpu="x86-64" if x86 and cpu == "generic" else cpu,
        features=features if x86 else ("+neon", *(f for f in features if f != "+neon")),
        cpu_features=tuple(sorted({cpuinfo[n] for n in names} | (set() if x86 else {"asimd"}))),
        vector_bits=512 if wide else 256 if x86 else 128,
        vector_registers=16 if x86 and not wide else 32,
        int8_dot=bool(names & {"dotprod", "avx512vnni"}),
        i8mm="i8mm" in names,
    )
