"""How often a classifier is right on labelled images, and what is said of a folder that is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lwc.errors import BadInputError, LwcError, UnsupportedError
from lwc.models.evaluate import (
    Accuracy,
    LabelledImage,
    evaluate,
    read_labels,
    require_classifier,
    wilson_interval,
)
from lwc.models.preprocess import Preprocessing
from lwc.models.request import LoadedModel

SIZE = 4
PLAIN = Preprocessing(
    resize=None, resample="bilinear", crop=(SIZE, SIZE), rescale=1 / 255, mean=None, std=None, bgr=False
)


class Brightness(nn.Module):
    """The likeliest of `classes` classes is the one whose share of white the image has."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.arange(classes) / classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (1, classes) of an image (1, 3, height, width)."""
        return -(self.get_buffer("centres") - image.mean()).abs()[None]


def model_of(
    module: nn.Module, shape: tuple[int, ...] = (1, 3, SIZE, SIZE), how: Preprocessing | None = PLAIN
) -> LoadedModel:
    """`module` as a model that takes an image of `shape`."""
    return LoadedModel(
        name="net",
        source="net",
        module=module.eval(),
        inputs=(torch.zeros(shape),),
        input_names=("image",),
        output_names=("logits",),
        input_layouts=("NCHW",),
        output_layouts=("N,classes",),
        preprocessing=how,
        labels=None,
        weights="random",
    )


def write_images(folder: Path, shades: list[int]) -> None:
    """An image of each shade, 0.png and so on."""
    for number, shade in enumerate(shades):
        Image.fromarray(np.full((SIZE, SIZE, 3), shade, np.uint8)).save(folder / f"{number}.png")


def accuracy(folder: Path, *modules: nn.Module) -> list[Accuracy]:
    """What `modules` make of the images in `folder`."""
    model, images = model_of(modules[0]), read_labels(folder)
    require_classifier(model, images)
    return evaluate(modules, model, images, lambda text: None)


def test_counts_the_likeliest_class_and_the_five_likeliest(tmp_path: Path) -> None:
    # Classes 0, 5 and 9 of ten.
    write_images(tmp_path, [0, 130, 240])
    (tmp_path / "labels.csv").write_text("file,label\n0.png,0\n1.png,6\n2.png,1\n")
    assert accuracy(tmp_path, Brightness(10)) == [Accuracy(images=3, top1=1, top5=2, agreement=3)]


def test_few_classes_have_no_five_likeliest(tmp_path: Path) -> None:
    write_images(tmp_path, [0, 200])
    (tmp_path / "labels.csv").write_text("file,label\n0.png,0\n1.png,3\n")
    assert accuracy(tmp_path, Brightness(4)) == [Accuracy(images=2, top1=2, top5=None, agreement=2)]


def test_of_equal_logits_the_first_class_counts(tmp_path: Path) -> None:
    write_images(tmp_path, [0, 0])
    (tmp_path / "labels.csv").write_text("file,label\n0.png,0\n1.png,1\n")
    constant = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 4, bias=False))
    assert accuracy(tmp_path, constant) == [Accuracy(images=2, top1=1, top5=None, agreement=2)]


def test_several_modules_see_the_same_images(tmp_path: Path) -> None:
    write_images(tmp_path, [0, 130])
    (tmp_path / "labels.csv").write_text("file,label\n0.png,0\n1.png,5\n")

    class Upside(Brightness):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return -super().forward(image)

    found = accuracy(tmp_path, Brightness(10), Upside(10))
    assert [item.top1 for item in found] == [2, 0]
    assert [item.agreement for item in found] == [2, 0]


def test_agreement_is_with_the_first_module_right_or_wrong(tmp_path: Path) -> None:
    write_images(tmp_path, [0, 130, 240])
    (tmp_path / "labels.csv").write_text("file,label\n0.png,3\n1.png,5\n2.png,3\n")
    first, second, third = accuracy(tmp_path, Brightness(10), Brightness(10), Brightness(4))
    assert first == second == Accuracy(images=3, top1=1, top5=2, agreement=3)
    # Only black is the same class for both.
    assert (third.top1, third.agreement) == (1, 1)


def test_progress_is_told(tmp_path: Path) -> None:
    write_images(tmp_path, [0, 0, 0])
    (tmp_path / "labels.csv").write_text("file,label\n0.png,0\n1.png,1\n2.png,2\n")
    seen: list[str] = []
    evaluate([Brightness(4)], model_of(Brightness(4)), read_labels(tmp_path), seen.append)
    assert seen == ["1 of 3 images", "2 of 3 images", "3 of 3 images"]


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilsons_interval(right: int, images: int, low: float, high: float) -> None:
    assert wilson_interval(right, images) == pytest.approx((low, high), abs=5e-5)


# Labels.


def test_the_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    text = '\ufefflabel,name,file\r\n3,"a, b",one.png\r\n7,,deep/two.png\r\n'
    (tmp_path / "labels.csv").write_bytes(text.encode())
    assert read_labels(tmp_path) == (
        LabelledImage(tmp_path / "one.png", 3),
        LabelledImage(tmp_path / "deep" / "two.png", 7),
    )


MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the first line names no columns 'file' and 'label'"),
    "no column": (b"file,class\na.png,1\n", "the first line names no columns 'file' and 'label'"),
    "no images": (b"file,label\n", "lists no image"),
    "blank lines": (b"file,label\n\n\n", "lists no image"),
    "not UTF-8": (b"file,label\n\xff.png,1\n", "is not UTF-8 text"),
    "short row": (b"file,label\na.png\n", "line 2: has not the columns that the first line names"),
    "long row": (b"file,label\na.png,1,2\n", "line 2: has not the columns that the first line names"),
    "no file": (b"file,label\n,1\n", "line 2: has not the columns that the first line names"),
    "no label": (b"file,label\na.png,\n", "line 2: has not the columns that the first line names"),
    "label in words": (
        b"file,label\na.png,1\nb.png,cat\n",
        "line 3: label 'cat' is not the number of a class",
    ),
    "negative label": (b"file,label\na.png,-1\n", "line 2: label '-1' is not the number of a class"),
    "fraction": (b"file,label\na.png,1.0\n", "line 2: label '1.0' is not the number of a class"),
    "huge label": (b"file,label\na.png,99999999999\n", "line 2: label '99999999999' is not the number"),
    "other digits": ("file,label\na.png,٣\n".encode(), "line 2: label .* is not the number of a class"),
    "absolute": (b"file,label\n/etc/passwd,1\n", "line 2: '/etc/passwd' is not a path below the folder"),
    "above": (
        b"file,label\na/../../b.png,1\n",
        r"line 2: 'a/\.\./\.\./b\.png' is not a path below the folder",
    ),
    "twice": (b"file,label\na.png,1\na.png,2\n", "line 3: 'a.png' is listed twice"),
    "column twice": (b"file,label,label\na.png,1,2\n", "names a column twice"),
    "open quote": (b'file,label\n"a.png,1\n', "is not a table in CSV"),
    "NUL": (b"file,label\na\0.png,1\n", "line 2: .* is not a path below the folder"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_labels(name: str, tmp_path: Path) -> None:
    content, says = MALFORMED[name]
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(BadInputError, match=says) as caught:
        read_labels(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'labels.csv'}: ")
    assert str(caught.value).isprintable()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        BadInputError, match=r"nowhere: does not exist; give a folder of images with labels\.csv"
    ):
        read_labels(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="file: is not a folder"):
        read_labels(tmp_path / "file")
    with pytest.raises(BadInputError, match=r"labels\.csv: does not exist"):
        read_labels(tmp_path)
    (tmp_path / "labels.csv").mkdir()
    with pytest.raises(BadInputError, match=r"labels\.csv: is not a regular file"):
        read_labels(tmp_path)


# Images and models.


def test_a_label_that_the_model_lacks(tmp_path: Path) -> None:
    images = (LabelledImage(tmp_path / "a.png", 3), LabelledImage(tmp_path / "b.png", 4))
    with pytest.raises(BadInputError, match=r"b\.png: label 4: out of range; the model has classes 0 to 3"):
        require_classifier(model_of(Brightness(4)), images)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "does not exist"), (b"hello", "is not an image"), (b"\x89PNG\r\n\x1a\n", "is")],
)
def test_an_image_that_is_missing_or_damaged(content: bytes | None, says: str, tmp_path: Path) -> None:
    write_images(tmp_path, [0])
    (tmp_path / "labels.csv").write_text("file,label\n0.png,0\n1.png,0\n")
    if content is not None:
        (tmp_path / "1.png").write_bytes(content)
    with pytest.raises(BadInputError, match=rf"1\.png: {says}"):
        accuracy(tmp_path, Brightness(4))


def test_a_model_that_gives_no_number(tmp_path: Path) -> None:
    write_images(tmp_path, [0])
    (tmp_path / "labels.csv").write_text("file,label\n0.png,0\n")
    broken = Brightness(4)
    broken.get_buffer("centres")[1] = float("nan")
    with pytest.raises(BadInputError, match=r"0\.png: the model gives NaN or infinity for it"):
        accuracy(tmp_path, broken)


class Gives(nn.Module):
    """Whatever `result` makes of the image."""

    def __init__(self, result: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.result = result

    def forward(self, image: torch.Tensor) -> Any:
        """The function's value."""
        return self.result(image)


NO_CLASSIFIERS: dict[str, tuple[LoadedModel, str]] = {
    "no preprocessing": (model_of(Brightness(4), how=None), "does not say how one image becomes its input"),
    "a batch": (model_of(Brightness(4), (2, 3, SIZE, SIZE)), "does not say how one image becomes its input"),
    "another size": (model_of(Brightness(4), (1, 3, 5, 5)), "does not say how one image becomes its input"),
    "an image": (model_of(Gives(lambda x: x)), r"does not give one tensor of shape \(1, classes\)"),
    "a vector": (model_of(Gives(lambda x: x.mean((0, 2, 3)))), r"does not give one tensor of shape"),
    "one class": (model_of(Gives(lambda x: x.mean((2, 3))[:, :1])), r"does not give one tensor of shape"),
    "two results": (model_of(Gives(lambda x: (x.mean((2, 3)), x))), r"does not give one tensor of shape"),
}


@pytest.mark.parametrize("name", NO_CLASSIFIERS)
def test_a_model_that_classifies_no_image(name: str) -> None:
    model, says = NO_CLASSIFIERS[name]
    with pytest.raises(UnsupportedError, match=f"net: {says}") as caught:
        require_classifier(model, [])
    assert isinstance(caught.value, LwcError)
