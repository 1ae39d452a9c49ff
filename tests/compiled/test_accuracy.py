"""MobileNetV1 with its ImageNet weights: the compiled library is right as often as the original."""

import csv
from pathlib import Path

import numpy as np
import pytest

import lwc
from lwc.models.preprocess import preprocess_image
from tests.compiled.support import compile_to

pytestmark = pytest.mark.slow

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
EVALUATION = DATA / "imagenet_sample" / "evaluation"

# Of 200 images, with preprocessing as the original's.
TOP_1 = {"mobilenet_v1_0.25_128": 0.445, "mobilenet_v1_0.5_160": 0.660}


@pytest.fixture
def labelled() -> list[tuple[Path, int]]:
    """The images and their classes; class 0 is the background, as in the models."""
    path = EVALUATION / "labels.csv"
    if not path.is_file():
        pytest.skip("no images: ../shared/data/imagenet_sample does not exist")
    with path.open(newline="") as file:
        rows = [(EVALUATION / row["file"], int(row["label"])) for row in csv.DictReader(file)]
    assert len(rows) == 200
    return rows


@pytest.mark.parametrize("name", TOP_1)
def test_top_1(name: str, labelled: list[tuple[Path, int]], tmp_path: Path) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no weights: ../shared/data/{name} does not exist")
    result = compile_to(tmp_path / "package", str(DATA / name), weights="auto")
    assert result.manifest.weights == "file"
    preprocessing = result.manifest.preprocessing
    assert preprocessing is not None
    model = lwc.load(result.package)
    right = [
        int(np.argmax(model(preprocess_image(path, preprocessing)))) == label for path, label in labelled
    ]
    assert np.mean(right) == TOP_1[name]
