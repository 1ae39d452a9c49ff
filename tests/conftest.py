"""Randomness that is fresh in every run and can be repeated."""

import os
import secrets

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a user write the golden texts anew."""
    parser.addoption(
        "--update-golden", action="store_true", help="write the texts in tests/passes/golden anew"
    )


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
