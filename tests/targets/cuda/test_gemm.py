"""Pointwise convolutions and linear layers on a GPU give what PyTorch gives, for any number of rows and columns."""

import pytest

from lwc.targets.gpu import Gpu
from lwc.targets.kernels.cuda.block_tile import block_tile
from lwc.targets.kernels.epilogue import ACTIVATIONS, Epilogue
from tests.targets.cuda.emulation import check_layers, require_right
from tests.targets.cuda.layers import Linear, random_layers

pytestmark = pytest.mark.slow

SM_80 = Gpu("sm_80", multiprocessors=108)
CASES = {
    "classifier": Linear(1, 256, 250),
    "one_channel": Linear(1, 1, 1),
    "three_rows": Linear(3, 17, 5),
    "four_rows": Linear(4, 130, 10, residual=False),
    "five_rows": Linear(5, 3, 1),
    "prime": Linear(17, 24, 65),
    "tokens": Linear(49, 40, 24, epilogue=Epilogue("hardswish")),
    "odd_inner": Linear(33, 67, 48),
    "pixels": Linear(784, 32, 64, residual=False, epilogue=Epilogue("identity", 0.0, 6.0)),
    "many_pixels": Linear(12544, 16, 96, residual=False),
    "deep": Linear(49, 512, 128),
    "eight_columns": Linear(3001, 24, 8),
    "wide": Linear(6, 64, 1000),
    **{name: Linear(9, 16, 12, epilogue=Epilogue(name)) for name in ACTIVATIONS},
}


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exception | None]:
    return check_layers(random_layers(CASES), tmp_path_factory.mktemp("gemm"))


@pytest.mark.parametrize("name", CASES)
def test_product(differences: dict[str, Exception | None], name: str) -> None:
    require_right(differences, name)


@pytest.mark.parametrize("rows", [5, 49, 196, 784, 12544, 100000])
@pytest.mark.parametrize("columns", [1, 8, 24, 65, 512])
def test_tiles_fit_a_block(rows: int, columns: int) -> None:
    tile = block_tile(rows, 512, columns, SM_80)
    assert tile.threads in (64, 128, 256)
    assert 4 * (tile.rows * (tile.chunk + 4) + tile.chunk * tile.columns) <= SM_80.shared_bytes
    # A block is not mostly beside the results.
    assert tile.columns <= 4 * max(8, columns)


def test_small_products_are_spread_over_the_multiprocessors() -> None:
    tile = block_tile(196, 256, 256, SM_80)
    assert -(-196 // tile.rows) * -(-256 // tile.columns) > SM_80.multiprocessors // 2
    assert block_tile(50176, 256, 256, SM_80).rows >= 64
