"""Which values a target may have: a wrong one is named when the target is made."""

from dataclasses import replace
from typing import Any

import pytest

from lwc.errors import UsageError
from lwc.targets import arm64, x86_64_v4_vnni
from lwc.targets.resolve import resolve_target

WRONG: dict[str, tuple[str, Any, str]] = {
    "no name": ("name", "", "not a line of text"),
    "name in two lines": ("name", "a\nb", "not a line of text"),
    "description of none": ("description", None, "not a line of text"),
    "another architecture": ("triple", "riscv64-linux-gnu", "not x86_64-linux-gnu or aarch64-linux-gnu"),
    "another system": ("triple", "aarch64-apple-darwin", "not x86_64-linux-gnu or aarch64-linux-gnu"),
    "cpu with a space": ("cpu", "cortex a55", "not a processor's name"),
    "cpu of none": ("cpu", None, "not a processor's name"),
    "features as text": ("features", "+neon", "not a tuple of names with their signs"),
    "features without a sign": ("features", ("neon",), "not a tuple of names with their signs"),
    "features of numbers": ("features", (3,), "not a tuple of names with their signs"),
    "cpu features as a list": ("cpu_features", ["asimd"], "not a tuple of names"),
    "cpu features with a sign": ("cpu_features", ("+asimd",), "not a tuple of names"),
    "half a vector": ("vector_bits", 64, "not 128, 256 or 512"),
    "vector bits as text": ("vector_bits", "128", "not 128, 256 or 512"),
    "one register": ("vector_registers", 1, "not 16 or 32"),
    "a flag as a number": ("int8_dot", 1, "not False or True"),
    "a flag as text": ("i8mm", "no", "not False or True"),
    "a negative cache": ("l2_bytes", -1, "not a whole number from 1024 to 1073741824"),
    "a cache as text": ("l1_bytes", "big", "not a whole number from 1024 to 16777216"),
    "a cache of a fraction": ("l1_bytes", 32768.0, "not a whole number from 1024 to 16777216"),
    "no core": ("cores", 0, "not a whole number from 1 to 65536"),
    "cores as a flag": ("cores", True, "not a whole number from 1 to 65536"),
    "a word for glibc": ("glibc", "new", "not a version from 2.17 on"),
    "a glibc without arm64": ("glibc", "2.5", "not a version from 2.17 on"),
    "glibc as a number": ("glibc", 2.28, "not a version from 2.17 on"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_value_that_no_target_has_is_named(case: str) -> None:
    field, value, allowed = WRONG[case]
    with pytest.raises(ValueError, match="not") as caught:
        replace(arm64.TARGET, **{field: value})
    assert str(caught.value).startswith(f"its {field} is {value!r}, {allowed}")


@pytest.mark.parametrize("target", [arm64.TARGET, x86_64_v4_vnni.TARGET])
def test_a_cpu_feature_that_no_library_checks_is_named(target: Any) -> None:
    with pytest.raises(ValueError, match=r"its cpu_features have 'sse9', which no library can check, not "):
        replace(target, cpu_features=(*target.cpu_features, "sse9"))


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ValueError, match="not") as caught:
        replace(arm64.TARGET, glibc="2" * 10_000)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("cpu", ["a b", "a\tb", "\u00fc", "+"])
def test_a_malformed_cpu_on_the_command_line(cpu: str) -> None:
    with pytest.raises(UsageError, match=r": its (cpu|name) is .*; write it as in cpu=cortex-a55"):
        resolve_target(f"triple=aarch64-linux-gnu,cpu={cpu}")


def test_a_malformed_vendor_on_the_command_line() -> None:
    with pytest.raises(UsageError, match=r": its name is .*, not a line of text"):
        resolve_target("triple=aarch64-\t-linux-gnu")


@pytest.mark.parametrize("feature", ["+nonsense", "+avx2"])
def test_a_feature_that_llvm_does_not_know_is_named(feature: str) -> None:
    from lwc.tvm_api import check_cpu

    check_cpu(arm64.TARGET)
    with pytest.raises(UsageError) as caught:
        check_cpu(replace(arm64.TARGET, features=("+neon", feature)))
    assert str(caught.value) == (
        f"target 'arm64': feature {feature!r} is unknown to LLVM for aarch64-linux-gnu; leave it out"
    )
