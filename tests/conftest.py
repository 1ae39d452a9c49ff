"""Randomness that is fresh in every run and can be repeated."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.tune.board import board


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a user write the golden texts anew."""
    parser.addoption(
        "--update-golden", action="store_true", help="write the texts in tests/passes/golden anew"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keep the user's tuning results out of the tests, and the tests' out of the user's; no two processes share any."""
    folder = tempfile.TemporaryDirectory(prefix="lwc-tests-")
    config.add_cleanup(folder.cleanup)
    os.environ["LWC_TUNING_STORE"] = str(Path(folder.name) / "tuning.sqlite")


@pytest.fixture
def seed() -> int:
    """A fresh seed, printed so that a failure shows it; LWC_TEST_SEED=N repeats a run."""
    value = int(os.environ.get("LWC_TEST_SEED") or secrets.randbits(32))
    print(f"random seed: {value}")
    return value


@pytest.fixture
def rng(seed: int) -> torch.Generator:
    """PyTorch's random numbers from `seed`."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def store_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the tuning results of this test are, or will be."""
    path = tmp_path / "tuning.sqlite"
    monkeypatch.setenv("LWC_TUNING_STORE", str(path))
    return path


@pytest.fixture
def board_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a board that `ssh` reaches; its temporary folder is `tmp_path`/board/tmp."""
    folder = tmp_path / "board"
    folder.mkdir()
    with board(folder) as url:
        monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        yield url
