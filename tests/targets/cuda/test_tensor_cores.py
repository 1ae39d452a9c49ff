"""Products on tensor cores: every tile, with remainders in each direction, and what NVIDIA's compilers make of it."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch.nn import functional

from lwc.cuda.nvrtc import find_nvrtc
from lwc.lower.cuda_source import cuda_source
from lwc.targets.gpu import Gpu
from lwc.targets.kernels.cuda import gemm
from lwc.targets.kernels.cuda.tensor_tile import SHAPES, TensorTile, tensor_tile
from lwc.targets.kernels.epilogue import Epilogue
from tests.targets.cuda.emulation import HALF_GPU, Layer, check_layers, require_right, scheduled
from tests.targets.cuda.layers import SEED, numbers, stored
from tests.targets.cuda.nvcc import memory_of_threads, needs_nvcc
from tests.targets.cuda.test_half import half_layers

pytestmark = pytest.mark.slow

SM_80 = Gpu("sm_80", multiprocessors=108, numbers="float16")
# Bytes, of a value or two that are stored and loaded, on sm_90.
_PUT_ASIDE = {"attention_mobilevit_second": 24, "depthwise_seven": 16}
ARCHITECTURES = ("sm_75", "sm_80", "sm_90")
TILES = [TensorTile(*shape, chunk) for shape in SHAPES for chunk in (16, 32)]
CASES = {
    f"{tile.rows}x{tile.columns}_by_{tile.chunk}": tile
    for tile in TILES
    if tile.shared_bytes <= SM_80.shared_bytes
}


def layer_of(tile: TensorTile, rng: np.random.Generator) -> Layer:
    """Two blocks and a part in each direction, the last k not whole."""
    rows, inner, columns = 2 * tile.rows + 3, 2 * tile.chunk + 8, 2 * tile.columns + 4
    kernel = replace(gemm.plan(rows, inner, columns, Epilogue(), HALF_GPU), tile=tile)
    x, weight = stored(HALF_GPU, numbers(rng, rows, inner), numbers(rng, columns, inner) / np.sqrt(inner))
    bias = numbers(rng, columns)
    operands = (x, gemm.pack(kernel, weight), bias)
    return Layer(scheduled(kernel, gemm, *operands), operands, functional.linear, (x, weight, bias))


@pytest.fixture(scope="module")
def layers() -> dict[str, Layer]:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    return {f"product_{name}": layer_of(tile, rng) for name, tile in CASES.items()}


@pytest.fixture(scope="module")
def differences(
    layers: dict[str, Layer], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Exception | None]:
    return check_layers(layers, tmp_path_factory.mktemp("tensor_cores"))


@pytest.mark.parametrize("name", CASES)
def test_product(differences: dict[str, Exception | None], name: str) -> None:
    require_right(differences, f"product_{name}")


@pytest.mark.parametrize("name", CASES)
def test_shared_memory_is_what_was_planned(layers: dict[str, Layer], name: str) -> None:
    source, _ = cuda_source({"product": layers[f"product_{name}"].function}, HALF_GPU)
    declared = re.findall(r"__shared__ alignas\(\d+\) (half|float) \w+\[(\d+)\]", source)
    assert len(declared) == 3
    bytes_of = {"half": 2, "float": 4}
    assert sum(bytes_of[kind] * int(count) for kind, count in declared) == CASES[name].shared_bytes


@pytest.mark.parametrize("rows", [5, 49, 196, 784, 12544, 100000])
@pytest.mark.parametrize("columns", [1, 8, 24, 65, 512])
def test_a_block_is_not_mostly_beside_the_results(rows: int, columns: int) -> None:
    tile = tensor_tile(rows, 512, columns, SM_80)
    assert tile.columns <= 4 * max(16, columns)
    assert tile.rows <= 4 * max(16, rows)


def test_few_rows_are_left_to_warps_that_add() -> None:
    assert gemm.plan(4, 64, 64, Epilogue(), HALF_GPU).tile is None
    assert isinstance(gemm.plan(5, 64, 64, Epilogue(), HALF_GPU).tile, TensorTile)


@needs_nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_of_float16_stay_in_registers(
    layers: dict[str, Layer], architecture: str, tmp_path: Path
) -> None:
    functions = {name: layer.function for name, layer in (layers | half_layers()).items()}
    used = memory_of_threads(functions, architecture, tmp_path)
    assert {name: size for name, size in used.items() if size > _PUT_ASIDE.get(name, 0)} == {}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_products_are_warp_instructions(layers: dict[str, Layer], architecture: str, tmp_path: Path) -> None:
    compiler = find_nvrtc()
    if compiler is None:
        pytest.skip("NVRTC is not installed")
    source, launches = cuda_source({name: layer.function for name, layer in layers.items()}, HALF_GPU)
    ptx = compiler.compile(source, architecture).ptx.decode()
    for launch in launches.values():
        kernel = ptx[ptx.index(f".entry {launch.kernel}(") :].partition(".entry")[2].partition(".entry")[0]
        assert "wmma.mma.sync.aligned.row.row.m16n16k16.f32.f32" in kernel
