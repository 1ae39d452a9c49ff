"""The features that a target asks for are ones that the C runtime can look up: an unknown one counts as missing."""

import re
from pathlib import Path

import pytest

from lwc.targets.check import CPUINFO_NAMES
from lwc.targets.native import cpu_features
from lwc.targets.resolve import TARGETS, resolve_target

SOURCE = (Path(__file__).parents[2] / "lwc" / "runtime" / "cpu.c").read_text()


def known(architecture: str) -> set[str]:
    """The names in the table of cpu.c for `architecture`."""
    start = SOURCE.index(f"__{architecture}__")
    end = min(SOURCE.index(word, start) for word in ("\n#elif", "\n#else") if word in SOURCE[start:])
    return set(re.findall(r'\{"(\w+)",', SOURCE[start:end]))


def test_the_tables_are_found() -> None:
    assert "avx2" in known("x86_64")
    assert "asimd" in known("aarch64")
    assert not known("x86_64") & known("aarch64")


@pytest.mark.parametrize("name", TARGETS)
def test_every_target(name: str) -> None:
    target = resolve_target(name)
    assert target.cpu_features
    assert set(target.cpu_features) <= known(target.architecture)


def test_every_feature_that_can_be_given_by_hand() -> None:
    for architecture, names in CPUINFO_NAMES.items():
        assert set(names.values()) <= known(architecture)


def test_this_machine() -> None:
    target = resolve_target("native")
    assert set(target.cpu_features) <= known(target.architecture)
    assert set(target.cpu_features) <= cpu_features()
