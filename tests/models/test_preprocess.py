import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.levit.image_processing_pil_levit import LevitImageProcessorPil
from transformers.models.mobilenet_v1.image_processing_pil_mobilenet_v1 import MobileNetV1ImageProcessorPil
from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil

from lwc.errors import BadInputError, LwcError, UnsupportedError
from lwc.models.hf_preprocess import preprocessing_from_hugging_face
from lwc.models.preprocess import Preprocessing, preprocess_image
from lwc.models.zoo import ZOO

PROCESSORS: dict[str, Any] = {
    "mobilenet_v1": MobileNetV1ImageProcessorPil,
    "mobilenet_v2": MobileNetV2ImageProcessorPil,
    "levit": LevitImageProcessorPil,
    "mobilevit": MobileViTImageProcessorPil,
}
CONFIGS: list[dict[str, Any]] = [
    {},
    {"size": {"shortest_edge": 50}, "crop_size": {"height": 32, "width": 40}},
    {"size": {"height": 30, "width": 44}, "do_center_crop": False, "resample": 0},
    {"size": {"shortest_edge": 40}, "crop_size": {"height": 65, "width": 81}},
    {"do_resize": False, "crop_size": {"height": 97, "width": 64}},
    {"do_rescale": False, "resample": 1},
    {"do_normalize": False, "rescale_factor": 0.5},
    {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.8, 0.7], "do_flip_channel_order": False},
]
PLAIN = Preprocessing(
    resize=(8, 8), resample="bilinear", crop=None, rescale=1.0, mean=None, std=None, bgr=False
)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: ",".join(config) or "default")
@pytest.mark.parametrize("family", PROCESSORS)
def test_it_does_what_the_processors_of_hugging_face_do(
    tmp_path: Path, seed: int, family: str, config: dict[str, Any]
) -> None:
    random = np.random.default_rng(seed)
    height, width = random.integers(30, 300, 2)
    image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    image.save(tmp_path / "image.png")
    processor = PROCESSORS[family](**config)
    expected = np.asarray(processor(images=image, return_tensors="np")["pixel_values"])
    ours = preprocessing_from_hugging_face(config, family, "preprocessor_config.json")
    result = preprocess_image(tmp_path / "image.png", ours)
    assert result.shape == (1, 3, *ours.size) == expected.shape
    assert result.dtype == np.float32
    assert np.abs(result - expected).max() <= 1e-6


@pytest.mark.parametrize("family", PROCESSORS)
def test_what_a_processor_saves_is_read_back(tmp_path: Path, family: str) -> None:
    saved = PROCESSORS[family]().to_dict()
    assert preprocessing_from_hugging_face(saved, family, "x") == preprocessing_from_hugging_face(
        {}, family, "x"
    )


def test_old_checkpoints_give_plain_numbers_for_sizes() -> None:
    old = {
        "size": 288,
        "crop_size": 256,
        "resample": 2,
        "feature_extractor_type": "MobileViTFeatureExtractor",
    }
    ours = preprocessing_from_hugging_face(old, "mobilevit", "x")
    assert ours == ZOO["mobilevit_small"].preprocessing
    levit = preprocessing_from_hugging_face({"size": 224, "crop_size": 224}, "levit", "x")
    assert levit == ZOO["levit_128s"].preprocessing
    assert preprocessing_from_hugging_face({}, "mobilenet_v2", "x") == ZOO["mobilenet_v2"].preprocessing


@pytest.mark.parametrize(
    ("config", "kind", "words"),
    [
        ({"size": {"longest_edge": 9}}, UnsupportedError, "longest_edge"),
        ({"size": "big"}, UnsupportedError, "big"),
        ({"size": -1}, BadInputError, "resize"),
        ({"crop_size": 10**12}, BadInputError, "crop"),
        ({"resample": 17}, BadInputError, "resample"),
        ({"image_std": [0, 1, 1]}, BadInputError, "std"),
        ({"image_mean": [1]}, BadInputError, "mean"),
        ({"image_mean": float("nan")}, BadInputError, "mean"),
        ({"rescale_factor": {}}, BadInputError, "type"),
        ({"do_center_crop": False}, BadInputError, "crop"),
    ],
)
def test_a_malformed_processor_file_is_one_line(config: Any, kind: type[LwcError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        preprocessing_from_hugging_face(config, "mobilenet_v1", "folder/preprocessor_config.json")
    assert "folder/preprocessor_config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_its_json_form_is_the_same_again() -> None:
    for entry in ZOO.values():
        text = entry.preprocessing.model_dump_json()
        assert Preprocessing.model_validate_json(text) == entry.preprocessing


def test_another_size_keeps_the_margin() -> None:
    smaller = ZOO["mobilenet_v1"].preprocessing.with_size(112)
    assert (smaller.resize, smaller.crop, smaller.size) == (128, (112, 112), (112, 112))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "YCbCr"])
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = {"CMYK": "jpg", "YCbCr": "jpg"}.get(mode, "png")
    Image.new("RGB", (20, 10), (200, 200, 200)).convert(mode).save(tmp_path / f"image.{suffix}")
    assert preprocess_image(tmp_path / f"image.{suffix}", PLAIN).shape == (1, 3, 8, 8)


def test_the_orientation_of_a_photograph_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 3
    image.save(tmp_path / "turned.png", exif=exif)
    assert preprocess_image(tmp_path / "turned.png", PLAIN)[0, 0, 7, 7] == 255


def _png_of(width: int, height: int) -> bytes:
    """A PNG that claims to be of this size, with next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an image"),
        (b"hello", "is not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
        (_png_of(30_000, 30_000), "pixels"),
        (_png_of(9_000, 9_000), "pixels"),
        (_png_of(100, 100), "is damaged"),
    ],
)
def test_a_hostile_file_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words) as caught:
        preprocess_image(path, PLAIN)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_image_is_an_error_at_every_length(tmp_path: Path, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    for part in range(0, 60):
        (tmp_path / "part.jpg").write_bytes(whole[: len(whole) * part // 64])
        with pytest.raises(BadInputError):
            preprocess_image(tmp_path / "part.jpg", PLAIN)


def test_a_wide_image_is_refused_before_it_is_resized(tmp_path: Path) -> None:
    Image.new("L", (1_000_000, 1)).save(tmp_path / "wide.png")
    with pytest.raises(BadInputError, match="would be resized"):
        preprocess_image(tmp_path / "wide.png", ZOO["mobilenet_v1"].preprocessing)


@pytest.mark.parametrize("name", ["missing.png", ".", "/dev/zero"])
def test_what_is_no_file_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match="not"):
        preprocess_image(tmp_path / name, PLAIN)


def test_deep_pixels_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(BadInputError, match="8 bits"):
        preprocess_image(tmp_path / "deep.png", PLAIN)


def test_names_and_preprocessing_come_without_torch() -> None:
    code = (
        "import sys, lwc.models.zoo, lwc.models.preprocess, lwc.models.load, lwc.models.request;"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
