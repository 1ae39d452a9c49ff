"""What INT8 ranges are measured on, and what is said where it is missing, malformed or poor."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lwc.errors import UsageError
from lwc.models.preprocess import preprocess_image
from lwc.models.request import LoadedModel
from lwc.quantize import data
from lwc.quantize.data import read_calibration
from tests.quantize.calibration import (
    CLASSIFIER,
    FEW,
    HOW,
    PLAIN,
    SHAPE,
    SIZE,
    TWO,
    model_of,
    normal,
    read,
    refusal,
    write_images,
)

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
    monkeypatch.setattr(data, "MAX_BYTES", 9 * 4 * 3 * SIZE * SIZE + 1)
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
