"""From the text of --target to a target."""

import platform

import pytest

from lwc.errors import BadInputError, LwcError, UnsupportedError, UsageError
from lwc.targets import cuda
from lwc.targets.resolve import TARGETS, resolve_target, target_names
from lwc.targets.target import Target

ARM, X86 = "triple=aarch64-linux-gnu", "triple=x86_64-linux-gnu"


@pytest.mark.parametrize("name", TARGETS)
def test_every_name_resolves_to_the_target_of_that_name(name: str) -> None:
    target = resolve_target(name)
    assert target.name == name
    assert target.description
    assert resolve_target(name) == target


def test_native_comes_first_and_gpus_last() -> None:
    assert target_names() == ("native", *TARGETS, "cuda", *cuda.NAMES)


@pytest.mark.parametrize("machine", ["aarch64", "arm64", "x86_64"])
def test_arm64_is_never_the_host(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine lwc runs on: the lowest ARMv8.0, so that the package runs on every other."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    target = resolve_target("arm64")
    assert (target.cpu, target.features, target.cpu_features) == ("generic", ("+neon",), ("asimd",))
    assert (target.vector_bits, target.int8_dot, target.i8mm) == (128, False, False)
    assert target.glibc == "2.28"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("arm-64", "did you mean arm64?"),
        ("x86-64", "did you mean x86-64-v"),
        ("nativ", "did you mean native?"),
        ("", "choose from native, x86-64-v3"),
        ("zzz", "choose from native, x86-64-v3"),
        ("ARM64", "choose from native, x86-64-v3"),
    ],
)
def test_unknown_names_get_a_hint(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_target(text)
    assert str(caught.value).startswith(f"target {text!r}: unknown; {hint}")


# Written on the command line.


def test_a_custom_arm_target() -> None:
    target = resolve_target(f"{ARM},cpu=cortex-a55,features=dotprod+i8mm")
    assert target == Target(
        name=f"{ARM},cpu=cortex-a55,features=dotprod+i8mm",
        description="given on the command line",
        triple="aarch64-linux-gnu",
        cpu="cortex-a55",
        features=("+neon", "+dotprod", "+i8mm", "-bf16", "-fullfp16", "-sme", "-sve"),
        cpu_features=("asimd", "asimddp", "i8mm"),
        int8_dot=True,
        i8mm=True,
    )


@pytest.mark.parametrize("features", ["avx2+fma", "+avx2+fma", "fma+avx2", "avx2+fma+avx2"])
def test_a_custom_x86_target(features: str) -> None:
    target = resolve_target(f"{X86},features={features}")
    assert (target.cpu, target.features) == ("x86-64", ("+avx2", "+fma"))
    assert target.cpu_features == ("avx2", "fma")
    assert (target.vector_bits, target.vector_registers, target.int8_dot) == (256, 16, False)


@pytest.mark.parametrize(
    ("features", "dot"), [("avx512f", False), ("avx512vnni", True), ("avx2+avx512bw", False)]
)
def test_any_part_of_avx512_gives_the_wide_registers(features: str, dot: bool) -> None:
    target = resolve_target(f"{X86},features={features}")
    assert (target.vector_bits, target.vector_registers, target.int8_dot) == (512, 32, dot)
    assert "avx512f" in target.cpu_features
    assert "+avx512f" in target.features
    # LLVM would halve the vectors.
    assert target.features[-1] == "-prefer-256-bit"


@pytest.mark.parametrize(
    "triple", ["aarch64-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-pc-linux-gnu", "x86_64-linux-gnu"]
)
def test_the_vendor_in_a_triple_does_not_matter(triple: str) -> None:
    features = ",features=avx2+fma" if triple.startswith("x86") else ""
    target = resolve_target(f"triple={triple}{features}")
    assert target.triple == f"{target.architecture}-linux-gnu"


@pytest.mark.parametrize("text", ["x" * 5000, f"{ARM},cpu={'x' * 5000}"])
def test_what_is_long_is_cut(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"\.\.\.': has more than 400 characters; give a shorter one"
    ) as caught:
        resolve_target(text)
    assert len(str(caught.value)) < 200


NOT_UNDERSTOOD = "is not understood; write triple=...,cpu=...,features=a+b"
NO_GLIBC = "only Linux with glibc is supported"
NO_CODE = "is not supported; use x86_64-linux-gnu or aarch64-linux-gnu"
REFUSED: dict[str, tuple[type[LwcError], str]] = {
    "cpu=cortex-a55": (UsageError, "triple=... is missing; for example triple=aarch64-linux-gnu"),
    "triple=": (UsageError, f"'triple=' {NOT_UNDERSTOOD}"),
    f"{ARM},": (UsageError, f"'' {NOT_UNDERSTOOD}"),
    f"{ARM},cpu": (UsageError, f"'cpu' {NOT_UNDERSTOOD}"),
    f"{ARM},features=": (UsageError, f"'features=' {NOT_UNDERSTOOD}"),
    f"{ARM},cores=4": (UsageError, f"'cores=4' {NOT_UNDERSTOOD}"),
    f"{ARM},{ARM}": (UsageError, f"'{ARM}' {NOT_UNDERSTOOD}"),
    f"{ARM},features=sve": (UsageError, "feature 'sve' is unknown; choose from neon, dotprod, i8mm"),
    f"{ARM},features=-neon": (UsageError, "feature '-neon' is unknown; choose from neon, dotprod, i8mm"),
    f"{ARM},features=dotprod+-neon": (
        UsageError,
        "feature '-neon' is unknown; choose from neon, dotprod, i8mm",
    ),
    f"{ARM},features=avx512f": (UsageError, "feature 'avx512f' is unknown; choose from neon, dotprod, i8mm"),
    f"{X86},features=avx2+fma+dotprod": (UsageError, "feature 'dotprod' is unknown; choose from avx2, fma,"),
    X86: (BadInputError, "lwc needs AVX2 and FMA on x86-64; add features=avx2+fma or more"),
    f"{X86},features=avx2": (BadInputError, "lwc needs AVX2 and FMA on x86-64"),
    "triple=riscv64-linux-gnu": (UnsupportedError, f"triple 'riscv64-linux-gnu' {NO_CODE}"),
    "triple=armv7-linux-gnueabihf": (UnsupportedError, f"triple 'armv7-linux-gnueabihf' {NO_CODE}"),
    "triple=aarch64": (UnsupportedError, NO_GLIBC),
    "triple=aarch64-apple-darwin": (UnsupportedError, NO_GLIBC),
    "triple=aarch64-linux-musl": (UnsupportedError, NO_GLIBC),
    "triple=aarch64-linux-android": (UnsupportedError, NO_GLIBC),
    "triple=x86_64-pc-windows-msvc": (UnsupportedError, NO_GLIBC),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_makes_no_target_is_refused_in_one_line(text: str) -> None:
    kind, reason = REFUSED[text]
    with pytest.raises(kind) as caught:
        resolve_target(text)
    message = str(caught.value)
    assert message.startswith(f"target {text!r}: {reason}")
    assert "\n" not in message
