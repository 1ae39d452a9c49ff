"""What INT8 ranges are measured on, and what is said where it is missing, malformed or poor."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from lwc.errors import BadInputError, UsageError
from lwc.models.preprocess import Preprocessing, preprocess_image
from lwc.models.request import LoadedModel
from lwc.quantize import data
from lwc.quantize.data import CalibrationData, read_calibration

SIZE = 8
HOW = Preprocessing(
    resize=10,
    resample="bilinear",
    crop=(SIZE, SIZE),
    rescale=1 / 255,
    mean=(0.5,) * 3,
    std=(0.25,) * 3,
    bgr=False,
)
SHAPE = (1, 3, SIZE, SIZE)
FEW = "little of the ranges; give about 100"


def model_of(*shapes: tuple[int, ...], how: Preprocessing | None = None) -> LoadedModel:
    """A model with inputs of `shapes`, called image, mask and scale."""
    return LoadedModel(
        name="net",
        source="net",
        module=nn.Identity(),
        inputs=tuple(map(torch.zeros, shapes)),
        input_names=("image", "mask", "scale")[: len(shapes)],
        output_names=("logits",),
        input_layouts=("dims",) * len(shapes),
        output_layouts=("N,classes",),
        preprocessing=how,
        labels=None,
        weights="random",
    )


PLAIN = model_of(SHAPE)
TWO = model_of(SHAPE, (1, 5))
CLASSIFIER = model_of(SHAPE, how=HOW)


@pytest.fixture
def random(seed: int) -> np.random.Generator:
    """numpy's random numbers from the printed seed."""
    return np.random.default_rng(seed)


def normal(random: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Normal float32 numbers."""
    return random.standard_normal(shape, np.float32)


def write_images(folder: Path, random: np.random.Generator, count: int) -> list[Path]:
    """Images of noise, 00.png and so on."""
    paths = [folder / f"{number:02}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).save(path)
    return paths


def read(source: Path | str, model: LoadedModel, limit: int = 512) -> tuple[CalibrationData, list[str]]:
    """The data and the warnings."""
    warnings: list[str] = []
    return read_calibration(str(source), model, 0, warnings.append, limit), warnings


def refusal(source: Path | str, model: LoadedModel) -> str:
    """The one line of the error, without the folders before the name of the source."""
    with pytest.raises(BadInputError) as caught:
        read(source, model)
    text = str(caught.value)
    assert text.isprintable()
    return text.replace(f"{Path(source).parent}{os.sep}", "")


# Images.


def test_a_folder_of_images_is_preprocessed_in_the_order_of_the_names(
    tmp_path: Path, random: np.random.Generator
) -> None:
    paths = write_images(tmp_path, random, 9)
    (tmp_path / "labels.csv").write_text("file,label\n")
    (tmp_path / "._00.png").write_bytes(b"not an image")
    found, warnings = read(tmp_path, CLASSIFIER)
    assert (found.source, warnings) == ("9 images", [])
    for (image,), path in zip(found.samples, paths, strict=True):
        np.testing.assert_array_equal(image, preprocess_image(path, HOW))


@pytest.mark.parametrize("suffix", ["PNG", "jpg", "JPEG", "bmp", "webp", "gif", "ppm", "tif"])
def test_images_of_many_formats(suffix: str, tmp_path: Path, random: np.random.Generator) -> None:
    Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).save(tmp_path / f"photo.{suffix}")
    found, warnings = read(tmp_path, CLASSIFIER)
    assert found.source == "1 image"
    assert warnings == [f"{tmp_path}: 1 image says {FEW}"]


def test_a_model_of_several_images_gets_the_first_ones_again(
    tmp_path: Path, random: np.random.Generator
) -> None:
    paths = write_images(tmp_path, random, 10)
    found, warnings = read(tmp_path, model_of((4, *SHAPE[1:]), how=HOW))
    images = np.concatenate([preprocess_image(path, HOW) for path in (*paths, *paths[:2])])
    assert (found.source, warnings) == ("10 images", [])
    np.testing.assert_array_equal(
        torch.stack([x for (x,) in found.samples]), images.reshape(3, 4, *SHAPE[1:])
    )


def test_of_many_an_even_spread_is_taken(tmp_path: Path, random: np.random.Generator) -> None:
    paths = write_images(tmp_path, random, 25)
    found, warnings = read(tmp_path, CLASSIFIER, limit=10)
    assert found.source == "10 images"
    assert warnings == [f"{tmp_path}: holds 25 images; an even spread of 10 of them is taken"]
    chosen = [paths[i] for i in (0, 2, 5, 7, 10, 12, 15, 17, 20, 22)]
    for (image,), path in zip(found.samples, chosen, strict=True):
        np.testing.assert_array_equal(image, preprocess_image(path, HOW))


def test_samples_fit_into_memory(
    tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_MAX_BYTES", 9 * 4 * 3 * SIZE * SIZE + 1)
    write_images(tmp_path, random, 12)
    found, warnings = read(tmp_path, CLASSIFIER)
    assert len(found.samples) == 9
    assert warnings == [f"{tmp_path}: holds 12 images; an even spread of 9 of them is taken"]
    made, _ = read("synthetic", CLASSIFIER)
    assert len(made.samples) == 9


def test_a_folder_without_images(tmp_path: Path, random: np.random.Generator) -> None:
    (tmp_path / "set" / "cats").mkdir(parents=True)
    write_images(tmp_path / "set" / "cats", random, 1)
    (tmp_path / "set" / ".hidden.png").touch()
    assert refusal(tmp_path / "set", CLASSIFIER) == (
        "set: holds no image (.png, .jpg ...), and folders in it are not searched; put about 100 there"
    )


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "cannot be read (Permission denied); check" in refusal(tmp_path, CLASSIFIER)


def test_an_image_that_is_damaged_or_a_folder(tmp_path: Path, random: np.random.Generator) -> None:
    write_images(tmp_path, random, 9)
    (tmp_path / "04.png").write_bytes(b"hello")
    assert "04.png: is not an image; give one of" in refusal(tmp_path, CLASSIFIER)
    (tmp_path / "04.png").unlink()
    (tmp_path / "04.png").mkdir()
    assert "04.png: is not a regular file" in refusal(tmp_path, CLASSIFIER)


def test_images_that_preprocessing_makes_infinite(tmp_path: Path, random: np.random.Generator) -> None:
    write_images(tmp_path, random, 9)
    how = HOW.model_copy(update={"rescale": 1e300})
    with np.errstate(over="ignore"):
        assert "00.png: input 'image' holds NaN or infinity" in refusal(tmp_path, model_of(SHAPE, how=how))


@pytest.mark.parametrize(
    ("model", "give"),
    [
        (PLAIN, "give a .npy file of Nx3x8x8 float32, N samples"),
        (model_of((2, 4)), "give a .npy file of Nx2x4 float32, N samples"),
        (TWO, "give a .npz file of N samples in float32: image Nx3x8x8, mask Nx5"),
        (model_of((1, 3, 9, 9), how=HOW), "give a .npy file of Nx3x9x9 float32, N samples"),
    ],
)
def test_a_model_that_does_not_say_how_to_read_images(model: LoadedModel, give: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    says = f"set: the model does not say how an image becomes its input; {give}"
    assert refusal(tmp_path / "set", model) == says


# Arrays.


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
    monkeypatch.setattr(data, "_MAX_BYTES", 10_000)
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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(value: float, tmp_path: Path, random: np.random.Generator) -> None:
    image, mask = normal(random, 9, *SHAPE), normal(random, 9, 5)
    mask[6, 2] = value
    np.savez(tmp_path / "x.npz", image=image, mask=mask)
    says = "x.npz: sample 6: input 'mask' holds NaN or infinity; give finite numbers"
    assert refusal(tmp_path / "x.npz", TWO) == says


# Samples that say nothing.


def test_flat_samples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "black").mkdir()
    for shade in range(9):
        image = Image.new("RGB", (12, 12), (shade, 2 * shade, 3 * shade))
        image.save(tmp_path / "black" / f"{shade}.png")
    assert refusal(tmp_path / "black", CLASSIFIER) == (
        "black: every image is of one value throughout; give ordinary ones"
    )
    np.save(tmp_path / "x.npy", np.zeros((9, 5), np.float32))
    assert "x.npy: every array is of one value throughout" in refusal(tmp_path / "x.npy", model_of((1, 5)))


def test_a_flat_input_beside_others_and_numbers_alone_are_no_fault(
    tmp_path: Path, random: np.random.Generator
) -> None:
    np.savez(tmp_path / "x.npz", image=normal(random, 9, *SHAPE), mask=np.ones((9, 5), np.float32))
    assert read(tmp_path / "x.npz", TWO)[1] == []
    np.save(tmp_path / "x.npy", normal(random, 9, 1))
    assert read(tmp_path / "x.npy", model_of((1, 1)))[1] == []
    np.save(tmp_path / "x.npy", normal(random, 9, 3, 1, 1))
    assert read(tmp_path / "x.npy", model_of((1, 3, 1, 1)))[1] == []


def test_few_samples_and_equal_ones_are_warned_of(tmp_path: Path, random: np.random.Generator) -> None:
    path, values = tmp_path / "x.npy", normal(random, 7, *SHAPE)
    np.save(path, values)
    assert read(path, PLAIN)[1] == [f"{path}: 7 arrays say {FEW}"]
    np.save(path, np.repeat(values[:1], 8, axis=0))
    assert read(path, PLAIN)[1] == [f"{path}: all 8 arrays are the same; give different ones"]


# Made samples.


def test_made_images_look_like_preprocessed_photographs(seed: int) -> None:
    how = HOW.model_copy(update={"resize": 40, "crop": (32, 32)})
    model, warnings = model_of((1, 3, 32, 32), how=how), list[str]()
    found = read_calibration("synthetic", model, seed, warnings.append)
    assert warnings == [
        "calibrated on MADE IMAGES: accuracy on real ones may suffer;"
        " give --calibrate a folder of about 100 real images"
    ]
    assert found.source == "synthetic"
    images = torch.cat([x for (x,) in found.samples])
    assert images.shape == (32, 3, 32, 32)
    # Black and white are (0 - 0.5) / 0.25 and (1 - 0.5) / 0.25; what lies between is a pixel of 8 bits.
    assert images.min() >= -2
    assert images.max() <= 2
    pixels = 255 * (0.25 * images + 0.5)
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-3, rtol=0)
    assert abs(images.mean()) < 0.5
    assert 0.6 < images.std() < 1.4
    # Neighbours are alike, images are not. Of white noise, this would be the root of two.
    assert (images[..., 1:] - images[..., :-1]).std() < 1.1 * images.std()
    assert len({x.numpy().tobytes() for x in images}) == 32


def test_made_samples_are_those_of_the_seed(seed: int) -> None:
    def made(model: LoadedModel, seed: int) -> torch.Tensor:
        return torch.cat(
            [x for (x,) in read_calibration("synthetic", model, seed, lambda text: None).samples]
        )

    for model in (CLASSIFIER, PLAIN):
        assert torch.equal(made(model, seed), made(model, seed))
        assert not torch.equal(made(model, seed), made(model, seed + 1))


def test_made_samples_of_a_model_without_preprocessing(seed: int) -> None:
    warnings: list[str] = []
    found = read_calibration("synthetic", model_of(SHAPE, (2, 300)), seed, warnings.append)
    assert warnings == [
        "calibrated on MADE INPUTS: accuracy on real ones may suffer;"
        " give --calibrate a file of about 100 real inputs"
    ]
    assert [tuple(x.shape for x in sample) for sample in found.samples] == [(SHAPE, (2, 300))] * 32
    masks = torch.stack([mask for _, mask in found.samples])
    assert abs(masks.mean()) < 0.1
    assert abs(masks.std() - 1) < 0.1


def test_a_batch_of_made_images_and_a_limit() -> None:
    found, _ = read("synthetic", model_of((4, *SHAPE[1:]), how=HOW))
    assert [x.shape for (x,) in found.samples] == [(4, *SHAPE[1:])] * 8
    assert len(read("synthetic", CLASSIFIER, limit=5)[0].samples) == 5
    assert len(read("synthetic", PLAIN, limit=5)[0].samples) == 5


# Sources.


def test_a_source_that_is_none(tmp_path: Path) -> None:
    give = "give a folder of images, a .npy or .npz file, or 'synthetic'"
    (tmp_path / "photo.jpg").touch()
    assert refusal(tmp_path / "nowhere", CLASSIFIER) == f"'nowhere': does not exist; {give}"
    assert refusal(tmp_path / "photo.jpg", CLASSIFIER) == f"'photo.jpg': is no data to calibrate with; {give}"
    assert refusal(tmp_path / "x.npy", PLAIN) == "x.npy: does not exist; check the path"
    assert refusal(tmp_path / "x.npz", PLAIN) == "x.npz: does not exist; check the path"
    for name in ("", "a\nb", "a\0b", "a\0b.npy", "x" * 5000):
        assert refusal(name, CLASSIFIER)


def test_a_folder_called_synthetic_needs_its_path(
    tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "synthetic").mkdir()
    write_images(tmp_path / "synthetic", random, 9)
    monkeypatch.chdir(tmp_path)
    assert read("./synthetic", CLASSIFIER)[0].source == "9 images"
    assert read("synthetic", CLASSIFIER)[0].source == "synthetic"


def test_a_limit_of_none() -> None:
    with pytest.raises(UsageError, match="limit 0: out of range; give at least 1"):
        read("synthetic", CLASSIFIER, limit=0)
