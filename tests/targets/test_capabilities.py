"""What a target says of itself agrees with what LLVM makes of its features."""

from dataclasses import replace
from typing import Any

import pytest

from lwc.targets.resolve import TARGETS, resolve_target
from lwc.targets.target import Target

CUSTOM = (
    "triple=x86_64-linux-gnu,features=avx2+fma",
    "triple=x86_64-linux-gnu,cpu=znver4,features=avx512f+avx512bw+avx512vl+avx512dq+avx512cd+avx512vnni",
    "triple=aarch64-linux-gnu",
    "triple=aarch64-linux-gnu,cpu=neoverse-v1,features=dotprod+i8mm",
)
ALL = (*TARGETS, *CUSTOM)


@pytest.fixture(scope="module")
def llvm() -> Any:
    """TVM's questions to LLVM."""
    from lwc.tvm_api import tvm

    return tvm.target.codegen


def llvm_features(llvm: Any, target: Target) -> set[str]:
    """What LLVM has switched on."""
    from lwc.tvm_api import tvm_target

    return set(map(str, llvm.llvm_get_cpu_features(tvm_target(target))))


@pytest.mark.parametrize("text", ALL)
def test_llvm_knows_the_cpu_and_takes_the_features(text: str, llvm: Any) -> None:
    target = resolve_target(text)
    assert llvm.llvm_is_valid_cpu(target.cpu, target.triple)
    enabled = llvm_features(llvm, target)
    for feature in target.features:
        assert (feature[1:] in enabled) == (feature[0] == "+"), feature


@pytest.mark.parametrize("text", ALL)
def test_capabilities_follow_from_the_features(text: str, llvm: Any) -> None:
    target = resolve_target(text)
    enabled = llvm_features(llvm, target)
    wide = 512 if "avx512f" in enabled else 256 if "avx2" in enabled else 128
    assert target.vector_bits == wide
    assert target.float_lanes == wide // 32
    assert target.vector_registers == (16 if wide == 256 else 32)
    assert target.int8_dot == bool(enabled & {"avx512vnni", "dotprod"})
    assert target.i8mm == ("i8mm" in enabled)


# LLVM's name of what Linux calls otherwise.
LLVM_NAMES = {"asimd": "neon", "asimddp": "dotprod", "avx512_vnni": "avx512vnni"}


@pytest.mark.parametrize("text", ALL)
def test_the_library_checks_every_capability_that_its_code_uses(text: str, llvm: Any) -> None:
    target = resolve_target(text)
    checked = {LLVM_NAMES.get(name, name) for name in target.cpu_features}
    assert checked <= llvm_features(llvm, target)
    used = {
        "avx2": target.architecture == "x86_64" and target.vector_bits == 256,
        "avx512f": target.vector_bits == 512,
        "neon": target.architecture == "aarch64",
        "i8mm": target.i8mm,
        "dotprod": target.int8_dot and target.architecture == "aarch64",
        "avx512vnni": target.int8_dot and target.architecture == "x86_64",
    }
    assert {name for name, needed in used.items() if needed} <= checked


@pytest.mark.parametrize(
    ("name", "l1", "l2"), [("cortex-a72", 32, 1024), ("cortex-a76", 64, 512), ("neoverse-n1", 64, 1024)]
)
def test_the_caches_of_the_named_cores(name: str, l1: int, l2: int) -> None:
    """Data cache and level 2, in KiB, from the cores' technical reference manuals (the usual choice)."""
    target = resolve_target(name)
    assert (target.l1_bytes, target.l2_bytes) == (l1 * 1024, l2 * 1024)


@pytest.mark.parametrize(
    ("name", "dot"), [("cortex-a72", False), ("cortex-a76", True), ("neoverse-n1", True)]
)
def test_the_dot_product_of_the_named_cores(name: str, dot: bool) -> None:
    target = resolve_target(name)
    assert (target.int8_dot, "asimddp" in target.cpu_features) == (dot, dot)


CHECKED_ELSEWHERE = {
    "triple=x86_64-linux-gnu,cpu=znver4,features=avx2+fma+bmi2": "avx512f",
    "triple=x86_64-linux-gnu,cpu=znver4,features=avx2+fma+avx512f+avx512bw": "avx512vbmi",
    "triple=x86_64-linux-gnu,cpu=alderlake,features=avx2+fma": "avxvnni",
    "triple=aarch64-linux-gnu,cpu=neoverse-n2": "sve",
    "triple=aarch64-linux-gnu,cpu=cortex-a76": "dotprod",
}


@pytest.mark.parametrize(("text", "feature"), CHECKED_ELSEWHERE.items())
def test_a_cpu_name_tunes_and_switches_nothing_on(text: str, feature: str, llvm: Any) -> None:
    target = resolve_target(text)
    assert feature in llvm_features(llvm, replace(target, features=()))
    assert feature not in llvm_features(llvm, target)
