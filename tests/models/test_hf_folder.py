import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from lwc.errors import BadInputError, LwcError, UnsupportedError, UsageError
from lwc.models.load import load_model
from lwc.models.preprocess import preprocess_image
from lwc.models.request import LoadedModel, ModelRequest

Edit = Callable[..., None]


def load(path: Path | str, **overrides: object) -> LoadedModel:
    return load_model(ModelRequest(str(path), **overrides), warn=pytest.fail)  # type: ignore[arg-type]


def test_a_folder_gives_what_transformers_gives(folder: Path) -> None:
    model = load(folder)
    reference = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.module(*model.inputs), reference(model.inputs[0]).logits)
    assert (model.name, model.source, model.weights) == ("my_model", "My-Model", "file")
    assert (model.input_names, model.output_names) == (("image",), ("logits",))
    assert (model.input_layouts, model.output_layouts) == (("NCHW",), ("N,classes",))
    assert tuple(model.inputs[0].shape) == (1, 3, 64, 64)
    assert model.preprocessing is not None
    assert model.preprocessing.size == (64, 64)
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


@pytest.mark.parametrize(
    ("config", "model", "shape"),
    [
        (transformers.MobileNetV2Config, transformers.MobileNetV2ForSemanticSegmentation, (1, 5, 2, 2)),
        (transformers.LevitConfig, transformers.LevitForImageClassification, (1, 5)),
        (transformers.MobileViTConfig, transformers.MobileViTForImageClassification, (1, 5)),
        (transformers.MobileViTConfig, transformers.MobileViTForSemanticSegmentation, (1, 5, 2, 2)),
    ],
)
def test_every_architecture_loads(tmp_path: Path, config: type, model: type, shape: tuple[int, ...]) -> None:
    original = model(config(image_size=64, num_labels=5)).eval()
    original.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    with torch.no_grad():
        logits = loaded.module(*loaded.inputs)
        assert torch.equal(logits, original(loaded.inputs[0]).logits)
    assert tuple(logits.shape) == shape


def test_real_labels_are_kept_and_invented_ones_are_not(folder: Path, edit_config: Edit) -> None:
    assert load(folder).labels is None
    edit_config(id2label={str(index): f"kind {index}\x1b[31m" for index in range(7)})
    assert load(folder).labels == tuple(f"kind {index} [31m" for index in range(7))


def test_size_batch_and_weights_can_be_chosen(folder: Path, seed: int) -> None:
    model = load(folder, image_size=96, batch=2, weights="random", seed=seed)
    assert tuple(model.inputs[0].shape) == (2, 3, 96, 96)
    assert model.weights == "random"
    assert load(folder, weights=str(folder)).weights == "file"


@pytest.mark.parametrize("override", [{"width": 0.5}, {"num_labels": 3}, {"output_stride": 8}])
def test_what_the_folder_fixes_cannot_be_overridden(folder: Path, override: dict[str, object]) -> None:
    with pytest.raises(
        UsageError, match=next(iter(override)).replace("_", " ").replace("num labels", "labels")
    ):
        load(folder, **override)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"model_type": "bert"}, UnsupportedError, "'bert'"),
        ({"model_type": ["levit"]}, UnsupportedError, "levit"),
        ({"architectures": ["MobileNetV1Model"]}, UnsupportedError, "MobileNetV1Model"),
        ({"architectures": ["LevitForImageClassification"]}, UnsupportedError, "LevitFor"),
        ({"architectures": None}, UnsupportedError, "None"),
        ({"depth_multiplier": -1}, BadInputError, "depth_multiplier"),
        ({"depth_multiplier": 0}, BadInputError, "depth_multiplier"),
        ({"depth_multiplier": 1e99}, BadInputError, "depth_multiplier"),
        ({"depth_multiplier": "wide"}, BadInputError, "depth_multiplier"),
        ({"depth_multiplier": 0.5}, BadInputError, "classifier.weight has shape"),
        ({"image_size": [64, 32]}, UnsupportedError, "image_size"),
        ({"image_size": 10**9}, BadInputError, "image_size"),
        ({"num_channels": 1}, UnsupportedError, "num_channels"),
        ({"hidden_act": "os.system"}, BadInputError, "os.system"),
        ({"tf_padding": "yes"}, BadInputError, "tf_padding"),
        ({"id2label": {"1": "a"}}, BadInputError, "id2label"),
        ({"id2label": {"0": 5}}, BadInputError, "id2label"),
        ({"id2label": {"0": "a", "1": "b"}}, BadInputError, "classifier"),
    ],
)
def test_a_bad_configuration_is_one_line(
    folder: Path, edit_config: Edit, changes: dict[str, object], kind: type[LwcError], words: str
) -> None:
    edit_config(**changes)
    with pytest.raises(kind, match=words) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"a": 1, "a": 2}', "[" * 100_000, "\x00", '{"a": ' * 50_000, "NaN"]
)
def test_a_config_that_is_no_json_object_is_one_line(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(BadInputError, match=r"config\.json") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("classifier__bias", None, "lacks the tensor classifier.bias"),
        ("extra", torch.zeros(3), "unknown tensor extra"),
        ("classifier__bias", torch.zeros(9), r"classifier.bias has shape \(9,\), not \(7,\)"),
        ("classifier__bias", torch.full((7,), float("nan")), "classifier.bias holds NaN"),
        ("classifier__bias", torch.zeros(7, dtype=torch.int64), "classifier.bias is torch.int64"),
        (
            "mobilenet_v1__conv_stem__normalization__running_var",
            torch.full((8,), -1.0),
            "running_var holds a negative variance",
        ),
    ],
)
def test_bad_weights_name_the_tensor(
    folder: Path, edit_weights: Edit, name: str, value: torch.Tensor | None, words: str
) -> None:
    edit_weights(**{name: value})
    with pytest.raises(BadInputError, match=words):
        load(folder)


def test_half_precision_weights_become_float32(folder: Path, edit_weights: Edit) -> None:
    edit_weights(classifier__bias=torch.ones(7, dtype=torch.float16))
    assert {parameter.dtype for parameter in load(folder).module.parameters()} == {torch.float32}


def test_damaged_weights_are_one_line(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for part in range(0, 64, 7):
        path.write_bytes(whole[: len(whole) * part // 64])
        with pytest.raises(BadInputError, match=r"model\.safetensors") as caught:
            load(folder)
        assert "\n" not in str(caught.value)


def test_pickled_weights_are_never_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BadInputError, match=r"model\.safetensors: does not exist"):
        load(folder)


def test_a_pipe_does_not_block(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(BadInputError, match="regular file"):
        load(folder)


@pytest.mark.parametrize(("name", "size"), [("mobilenet_v1_0.25_128", 128), ("mobilenet_v1_0.5_160", 160)])
def test_real_weights_load(shared_data: Path, name: str, size: int) -> None:
    model = load(shared_data / name)
    assert model.name == name.replace(".", "_")
    assert tuple(model.inputs[0].shape) == (1, 3, size, size)
    with torch.no_grad():
        deviation = model.module(*model.inputs).std()
    assert 0.5 < deviation < 10


def test_a_zoo_name_takes_the_weights_of_a_file(shared_data: Path) -> None:
    weights = shared_data / "mobilenet_v1_0.25_128" / "model.safetensors"
    model = load("mobilenet_v1", width=0.25, image_size=128, weights=str(weights))
    same = load(shared_data / "mobilenet_v1_0.25_128")
    with torch.no_grad():
        assert torch.equal(model.module(*model.inputs), same.module(*model.inputs))
    assert model.weights == "file"
    with pytest.raises(BadInputError, match=r"has shape .* width, image size or number of labels"):
        load("mobilenet_v1", width=0.5, image_size=128, weights=str(weights))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "top1"), [("mobilenet_v1_0.25_128", 0.445), ("mobilenet_v1_0.5_160", 0.660)]
)
def test_real_weights_recognise_the_evaluation_images(shared_data: Path, name: str, top1: float) -> None:
    images = shared_data / "imagenet_sample" / "evaluation"
    rows = [line.split(",") for line in (images / "labels.csv").read_text().split()]
    labels = {row[0]: int(row[1]) for row in rows if row[1].isdigit()}
    model = load(shared_data / name)
    assert model.preprocessing is not None
    batch = np.concatenate([preprocess_image(images / file, model.preprocessing) for file in labels])
    with torch.no_grad():
        guesses = model.module(torch.from_numpy(batch)).argmax(1)
    assert (guesses == torch.tensor(list(labels.values()))).float().mean().item() == pytest.approx(
        top1, abs=0.005
    )
