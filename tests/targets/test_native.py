"""The native target, on machines that only /proc/cpuinfo and the platform's name make up."""

import os
import platform
from pathlib import Path

import pytest

from lwc.errors import UnsupportedError
from lwc.targets import native
from lwc.targets.native import cpu_features, native_target

V3 = "fpu sse4_2 avx avx2 fma bmi1 bmi2 f16c"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"
MIB = 1024 * 1024


class Machine:
    """A pretended machine."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root, self._monkeypatch = root, monkeypatch
        monkeypatch.setattr(platform, "system", lambda: "Linux")
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5})
        monkeypatch.setattr(native, "Path", lambda path: root / str(path).lstrip("/"))

    def set(self, architecture: str, cpuinfo: str, system: str = "Linux") -> None:
        """What platform.machine, /proc/cpuinfo and platform.system say."""
        self._monkeypatch.setattr(platform, "machine", lambda: architecture)
        self._monkeypatch.setattr(platform, "system", lambda: system)
        self._write("proc/cpuinfo", cpuinfo)

    def add_cache(self, index: int, level: str, kind: str, size: str) -> None:
        """A cache of the first core, as sysfs tells it."""
        for name, text in (("level", level), ("type", kind), ("size", size)):
            self._write(f"sys/devices/system/cpu/cpu0/cache/index{index}/{name}", f"{text}\n")

    def _write(self, name: str, text: str) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine of which nothing is known yet, with three cores."""
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("architecture", "line", "level", "bits", "dot"),
    [
        ("x86_64", f"flags\t\t: {V3}", "x86-64-v3", 256, False),
        ("x86_64", f"flags\t\t: {V4}", "x86-64-v4", 512, False),
        ("x86_64", f"flags\t\t: {V4} avx512_vnni", "x86-64-v4-vnni", 512, True),
        # Without all of AVX-512's parts it counts for nothing, VNNI or not.
        ("x86_64", f"flags\t\t: {V3} avx512f avx512_vnni", "x86-64-v3", 256, False),
        ("aarch64", "Features\t: fp asimd evtstrm crc32", "arm64", 128, False),
        ("aarch64", "Features\t: fp asimd asimdhp asimddp i8mm", "arm64 with dot product", 128, True),
        ("arm64", "Features\t: fp asimd", "arm64", 128, False),
    ],
)
def test_the_best_level_that_the_processor_has_all_of(
    architecture: str, line: str, level: str, bits: int, dot: bool, machine: Machine
) -> None:
    machine.set(architecture, f"processor\t: 0\nmodel name\t: Some CPU\n{line}\n\nprocessor\t: 1\n")
    target = native_target()
    assert target.name == "native"
    assert target.description == f"this machine: {level}, 3 cores"
    assert (target.vector_bits, target.int8_dot, target.cores) == (bits, dot, 3)
    assert set(target.cpu_features) <= cpu_features()
    # Code for "this processor" would not run on the next machine with the same features.
    assert target.cpu in ("generic", "x86-64-v3", "x86-64-v4")


def test_the_caches_are_those_of_the_first_core(machine: Machine) -> None:
    machine.set("x86_64", f"flags : {V3}\n")
    machine.add_cache(0, "1", "Instruction", "64K")
    machine.add_cache(1, "1", "Data", "48K")
    machine.add_cache(2, "2", "Unified", "2048K")
    machine.add_cache(3, "3", "Unified", "33792K")
    target = native_target()
    assert (target.l1_bytes, target.l2_bytes) == (48 * 1024, 2 * MIB)


@pytest.mark.parametrize("size", ["", "unknown", "K", "-1K"])
def test_caches_that_are_not_told_are_the_levels_own(size: str, machine: Machine) -> None:
    machine.set("x86_64", f"flags : {V3}\n")
    machine.add_cache(1, "1", "Data", size)
    machine.add_cache(2, "many", "Unified", "2048K")
    target = native_target()
    assert (target.l1_bytes, target.l2_bytes) == (32 * 1024, 256 * 1024)


REFUSED = {
    ("x86_64", "flags : sse4_2 avx", "Linux"): "/proc/cpuinfo does not show avx2 and fma",
    ("x86_64", f"flags : {V3.replace('fma ', '')}", "Linux"): "/proc/cpuinfo does not show avx2 and fma",
    ("x86_64", "nothing of use", "Linux"): "/proc/cpuinfo does not show avx2 and fma",
    ("aarch64", "Features : fp", "Linux"): "/proc/cpuinfo does not show asimd",
    ("x86_64", f"flags : {V4}", "Darwin"): "Darwin on x86_64 is not supported",
    ("arm64", "", "Darwin"): "Darwin on aarch64 is not supported",
    ("riscv64", "isa : rv64imafdcv", "Linux"): "Linux on riscv64 is not supported",
    ("armv7l", "Features : neon", "Linux"): "Linux on armv7l is not supported",
}


@pytest.mark.parametrize(("architecture", "cpuinfo", "system"), REFUSED)
def test_other_machines_are_refused(architecture: str, cpuinfo: str, system: str, machine: Machine) -> None:
    machine.set(architecture, cpuinfo, system)
    with pytest.raises(UnsupportedError) as caught:
        native_target()
    reason = REFUSED[architecture, cpuinfo, system]
    assert str(caught.value) == f"target 'native': {reason}; name a target (see `lwc targets`)"


def test_a_machine_without_cpuinfo_has_no_features(machine: Machine) -> None:
    assert cpu_features() == frozenset()
