"""Tiles: how many lanes a vector of columns has, and how results are stored."""

from importlib.resources import files

import pytest

from lwc.targets import arm64, x86_64_v3, x86_64_v4
from lwc.targets.kernels.tiling import (
    PARTS,
    imbalance,
    register_tile,
    round_up,
    store_lanes,
    stored_columns,
    vector_lanes,
)
from lwc.targets.target import Target

TARGETS = (arm64.TARGET, x86_64_v3.TARGET, x86_64_v4.TARGET)


@pytest.mark.parametrize(
    ("columns", "target", "lanes"),
    [
        (64, x86_64_v4.TARGET, 16),
        # Two vectors of 16 are faster than three of 8, though a quarter of them is empty.
        (24, x86_64_v4.TARGET, 16),
        (8, x86_64_v4.TARGET, 8),
        (5, x86_64_v4.TARGET, 8),
        (1, x86_64_v4.TARGET, 1),
        (24, x86_64_v3.TARGET, 8),
        (24, arm64.TARGET, 4),
    ],
)
def test_the_fewest_vectors_are_taken(columns: int, target: Target, lanes: int) -> None:
    assert vector_lanes(columns, target) == lanes


@pytest.mark.parametrize(
    ("columns", "lanes", "stored"),
    [(32, 16, 32), (24, 16, 24), (20, 16, 20), (1001, 16, 1008), (17, 8, 24), (3, 4, 4), (3, 1, 3)],
)
def test_results_have_columns_that_vectors_divide(columns: int, lanes: int, stored: int) -> None:
    assert stored_columns(columns, lanes) == stored
    assert stored % store_lanes(columns, lanes) == 0


def test_loops_are_cut_as_the_runtime_cuts_them() -> None:
    source = (files("lwc.runtime") / "pool.c").read_text()
    assert f"enum {{ PARTS = {PARTS} }};" in source


@pytest.mark.parametrize(
    ("tasks", "cores", "longer"), [(16, 2, 1.0), (14, 2, 1.0), (7, 2, 8 / 7), (1, 4, 4.0), (33, 2, 36 / 33)]
)
def test_the_busiest_core_decides(tasks: int, cores: int, longer: float) -> None:
    assert imbalance(tasks, cores) == pytest.approx(longer)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_tile_fits_the_registers_and_divides_the_columns(target: Target) -> None:
    for columns in range(1, 200):
        for rows in (1, 3, 49, 196):
            tile = register_tile(rows, columns, target)
            assert round_up(columns, tile.lanes) % tile.columns == 0
            vectors = tile.columns // tile.lanes
            assert tile.rows * vectors + vectors + 1 <= target.vector_registers
            # TVM takes larger buffers from the runtime.
            assert 4 * tile.rows * tile.columns < 1024
