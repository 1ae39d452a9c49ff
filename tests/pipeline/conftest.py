"""Plug-ins in files and packages, and a program for them to rewrite."""

import sys
from pathlib import Path

import pytest
import torch

from lwc.trace import Program
from tests.pipeline.plugins import GOOD, Install, Write
from tests.programs import program_of


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a plug-in and gives its spec."""

    def call(text: str = GOOD, file: str = "my_pass.py") -> str:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return f"{path}:MyPass"

    return call


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with one module and one entry point where Python finds it."""

    def call(text: str = GOOD, package: str = "alpha", name: str = "my-pass", value: str = "") -> None:
        site = tmp_path / "site"
        information = site / f"{package}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        value = value or f"{package}_module_of_a_test:MyPass"
        (information / "entry_points.txt").write_text(f"[lwc.passes]\n{name} = {value}\n")
        (site / f"{package}_module_of_a_test.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"{package}_module_of_a_test", raising=False)
        monkeypatch.syspath_prepend(str(site))

    return call


@pytest.fixture
def program(rng: torch.Generator) -> Program:
    """Two ReLUs."""
    return program_of(lambda x: (x.relu() + 1).relu(), (8, 9), rng=rng)
