"""MobileNetV1 at a quarter of its width, compiled once for this machine and once for 64-bit ARM."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.compiled.support import Array, compile_to

Copy = Callable[[Path], Path]


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For this machine. Not to be changed: see `copy`."""
    output = tmp_path_factory.mktemp("native") / "v1-native"
    return compile_to(output, "mobilenet_v1", width=0.25, image_size=128).package


@pytest.fixture(scope="session")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 64-bit ARM; verified where qemu is installed. Not to be changed: see `copy`."""
    output = tmp_path_factory.mktemp("arm64") / "v1-arm64"
    return compile_to(output, "mobilenet_v1", "arm64", width=0.25, image_size=128).package


@pytest.fixture(params=["native", "arm64"])
def package(request: pytest.FixtureRequest) -> Path:
    """Each of the two packages in turn. Not to be changed: see `copy`."""
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Path)
    return made


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """Copies a package to a place where it may be spoilt."""

    def make(package: Path) -> Path:
        return Path(shutil.copytree(package, tmp_path / package.name))

    return make


@pytest.fixture
def image(native: Path) -> Array:
    """The stored sample input."""
    array: Array = np.load(native / "sample_input.npy")
    return array
