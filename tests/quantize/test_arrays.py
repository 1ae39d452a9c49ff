"""Calibration samples in .npy and .npz files, and what is said of those that are not what they should be."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lwc.quantize import arrays
from tests.quantize.calibration import (
    FEW,
    PLAIN,
    SHAPE,
    TWO,
    model_of,
    normal,
    read,
    refusal,
)


@pytest.mark.parametrize(("given", "count"), [(SHAPE, 1), ((9, *SHAPE), 9), ((9, *SHAPE[1:]), 9)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_a_sample_or_many(
    given: tuple[int, ...], count: int, order: str, tmp_path: Path, random: np.random.Generator
) -> None:
    values = normal(random, *given)
    np.save(tmp_path / "x.npy", values.copy(order="F" if order == "F" else "C"))
    found, warnings = read(tmp_path / "x.npy", PLAIN)
    assert [tuple(x.shape) for (x,) in found.samples] == [SHAPE] * count
    np.testing.assert_array_equal(torch.stack([x for (x,) in found.samples]), values.reshape(count, *SHAPE))
    assert found.source == ("1 array" if count == 1 else "9 arrays")
    assert warnings == ([] if count == 9 else [f"{tmp_path / 'x.npy'}: 1 array says {FEW}"])


def test_only_a_batch_of_one_may_be_left_out(tmp_path: Path, random: np.random.Generator) -> None:
    np.save(tmp_path / "x.npy", normal(random, 9, 4))
    assert refusal(tmp_path / "x.npy", model_of((2, 4))) == (
        "x.npy: holds 9x4 float32, the input is 2x4 float32; give a .npy file of Nx2x4 float32, N samples"
    )
    np.save(tmp_path / "x.npy", normal(random, 9, 2, 4))
    found, _ = read(tmp_path / "x.npy", model_of((2, 4)))
    assert found.source == "9 arrays"


@pytest.mark.parametrize("compressed", [False, True])
def test_several_inputs_come_by_name(compressed: bool, tmp_path: Path, random: np.random.Generator) -> None:
    image, mask = normal(random, 9, *SHAPE), normal(random, 9, 5)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "x.npz", mask=mask, image=image)
    found, warnings = read(tmp_path / "x.npz", TWO)
    assert (found.source, warnings) == ("9 arrays", [])
    np.testing.assert_array_equal(torch.stack([sample[0] for sample in found.samples]), image)
    np.testing.assert_array_equal(torch.cat([sample[1] for sample in found.samples]), mask)


def test_a_spread_of_arrays(tmp_path: Path, random: np.random.Generator) -> None:
    values = normal(random, 20, *SHAPE)
    np.savez(tmp_path / "x.npz", image=values)
    found, warnings = read(tmp_path / "x.npz", PLAIN, limit=10)
    np.testing.assert_array_equal(torch.stack([x for (x,) in found.samples]), values[::2])
    assert warnings == [f"{tmp_path / 'x.npz'}: holds 20 arrays; an even spread of 10 of them is taken"]


WRONG_ARRAYS: dict[str, tuple[NDArray[np.generic], str]] = {
    "shape": (
        np.ones((9, 3, 8, 9), np.float32),
        "x.npy: holds 9x3x8x9 float32, the input is 1x3x8x8 float32; ",
    ),
    "scalar": (np.ones((), np.float32), "x.npy: holds scalar float32, "),
    "double": (np.ones(SHAPE), "x.npy: holds 1x3x8x8 float64, the input is 1x3x8x8 float32; "),
    "integers": (np.ones(SHAPE, np.uint8), "x.npy: holds 1x3x8x8 uint8, the input is"),
    "big-endian": (np.ones(SHAPE, ">f4"), "x.npy: holds 1x3x8x8 >f4, the input is"),
    "pickle": (np.array([print]), "x.npy: holds 1 object, the input is"),
    "none": (np.ones((0, *SHAPE), np.float32), "x.npy: holds no sample; "),
}


@pytest.mark.parametrize("name", WRONG_ARRAYS)
def test_an_array_that_is_not_the_input(name: str, tmp_path: Path) -> None:
    array, says = WRONG_ARRAYS[name]
    np.save(tmp_path / "x.npy", array)
    text = refusal(tmp_path / "x.npy", PLAIN)
    assert text.startswith(says)
    assert text.endswith("give a .npy file of Nx3x8x8 float32, N samples")


@pytest.mark.parametrize(("keep", "add"), [(-4, b""), (None, b"more"), (40, b""), (0, b"")])
def test_an_array_cut_short_or_drawn_out(
    keep: int | None, add: bytes, tmp_path: Path, random: np.random.Generator
) -> None:
    np.save(tmp_path / "x.npy", normal(random, *SHAPE))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:keep] + add)
    text = refusal(tmp_path / "x.npy", PLAIN)
    assert text.startswith(("x.npy: does not hold the 768 bytes", "x.npy: is no valid .npy file ("))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_nothing_is_allocated_on_the_word_of_a_header(suffix: str, tmp_path: Path) -> None:
    with open(tmp_path / "image.npy", "wb") as file:
        header = {"shape": (2**30, *SHAPE), "fortran_order": False, "descr": "<f4"}
        np.lib.format.write_array_header_1_0(file, header)
    if suffix == "npz":
        with zipfile.ZipFile(tmp_path / "image.npz", "w") as archive:
            archive.write(tmp_path / "image.npy", "image.npy")
    assert "holds more than 4294967296 bytes; give fewer" in refusal(tmp_path / f"image.{suffix}", PLAIN)


def test_an_archive_that_expands_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", image=np.ones((99, *SHAPE), np.float32))
    monkeypatch.setattr(arrays, "MAX_BYTES", 10_000)
    assert refusal(tmp_path / "x.npz", PLAIN) == "x.npz: expands to more than 10000 bytes; give fewer samples"
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("image.npy", b"")
    assert "x.npz: is compressed in an unknown way" in refusal(tmp_path / "x.npz", PLAIN)


def test_arrays_that_are_not_the_inputs(tmp_path: Path, random: np.random.Generator) -> None:
    image, mask, path = normal(random, 9, *SHAPE), normal(random, 9, 5), tmp_path / "x.npz"
    give = "give a .npz file of N samples in float32: image Nx3x8x8, mask Nx5"
    np.savez(path, image, mask)
    assert refusal(path, TWO) == f"x.npz: holds 'arr_0.npy, arr_1.npy', not one array for each input; {give}"
    np.savez(path, image=image)
    assert refusal(path, TWO) == f"x.npz: holds 'image.npy', not one array for each input; {give}"
    np.savez(path, image=image, mask=mask, more=mask)
    assert "not one array for each input" in refusal(path, TWO)
    np.savez(path, image=image, mask=mask[:8])
    assert refusal(path, TWO) == "x.npz: holds 9 of image, 8 of mask; give the same number of each"
    np.savez(path, image=image, mask=mask[:, :4])
    assert "array 'mask': holds 9x4 float32, the input is 1x5 float32" in refusal(path, TWO)
    np.save(tmp_path / "x.npy", image)
    assert refusal(tmp_path / "x.npy", TWO) == f"x.npy: is one array, and the model has 2 inputs; {give}"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_damaged_archive(tmp_path: Path, random: np.random.Generator) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, image=normal(random, 9, *SHAPE))
    intact = path.read_bytes()
    path.write_bytes(intact[:-30])
    assert "x.npz: is no intact .npz file (" in refusal(path, PLAIN)
    path.write_bytes(intact[:1000] + bytes([intact[1000] ^ 1]) + intact[1001:])
    assert "x.npz: is no intact .npz file (Bad CRC-32" in refusal(path, PLAIN)
    path.write_bytes(b"")
    assert "x.npz: is no intact .npz file (" in refusal(path, PLAIN)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", b"one")
        archive.writestr("image.npy", b"two")
    assert "not one array for each input" in refusal(path, PLAIN)
