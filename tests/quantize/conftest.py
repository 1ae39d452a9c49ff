"""Random numbers of the tests on calibration data."""

import numpy as np
import pytest


@pytest.fixture
def random(seed: int) -> np.random.Generator:
    """numpy's random numbers from the printed seed."""
    return np.random.default_rng(seed)
