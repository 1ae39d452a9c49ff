import os
from pathlib import Path

import pytest
import torch

from lwc.errors import BadInputError, LwcError, UsageError
from lwc.models.load import load_model
from lwc.models.request import LoadedModel, ModelRequest
from lwc.models.zoo import ZOO


def load(name: str, **overrides: object) -> LoadedModel:
    request = ModelRequest(name, **({"weights": "random"} | overrides))  # type: ignore[arg-type]
    return load_model(request, warn=pytest.fail)


def test_a_zoo_name_takes_overrides() -> None:
    model = load("mobilenet_v1", width=0.25, image_size=64, num_labels=10, batch=2)
    assert (model.name, model.source, model.weights, model.labels) == (
        "mobilenet_v1",
        "mobilenet_v1",
        "random",
        None,
    )
    assert tuple(model.inputs[0].shape) == (2, 3, 64, 64)
    with torch.no_grad():
        assert tuple(model.module(*model.inputs).shape) == (2, 10)


def test_the_output_stride_sets_the_size_of_a_segmentation() -> None:
    model = load("deeplabv3_mobilenet_v2", width=0.35, image_size=64, output_stride=16)
    assert model.output_layouts == ("NCHW",)
    with torch.no_grad():
        assert tuple(model.module(*model.inputs).shape) == (1, 21, 4, 4)


@pytest.mark.parametrize(
    ("name", "overrides", "kind", "words"),
    [
        ("levit_128s", {"width": 0.5}, UsageError, "levit_128s: comes in one width"),
        ("mobilevit_small", {"width": 0.5}, UsageError, "mobilevit_small: comes in one width"),
        ("mobilenet_v1", {"output_stride": 16}, UsageError, "mobilenet_v1: has one output stride"),
        ("mobilenet_v1", {"output_stride": 7}, UsageError, "output stride 7"),
        ("mobilenet_v1", {"width": float("nan")}, UsageError, "width nan"),
        ("mobilenet_v1", {"width": 1e9}, UsageError, "width"),
        ("mobilenet_v1", {"image_size": 0}, UsageError, "image size 0"),
        ("mobilenet_v1", {"image_size": 10**9}, UsageError, "image size"),
        ("mobilenet_v1", {"batch": -1}, UsageError, "batch -1"),
        ("mobilenet_v1", {"seed": -1}, UsageError, "seed -1"),
        ("mobilenet_v1", {"num_labels": 0}, UsageError, "number of labels 0"),
        ("levit_128s", {"image_size": 200}, BadInputError, "image size 200"),
        ("mobilenet_v1", {"weights": "best"}, BadInputError, "weights 'best'"),
        ("mobilenet_v1", {"weights": "missing.safetensors"}, BadInputError, "does not exist"),
        ("mobilenet_v1", {"weights": "weights.pt"}, BadInputError, "weights.pt"),
        ("mobilnet_v1", {}, BadInputError, "did you mean mobilenet_v1"),
        ("MobileNet-V2", {}, BadInputError, "did you mean mobilenet_v2"),
        ("mobilenet_v1 ", {}, BadInputError, "did you mean mobilenet_v1"),
        ("", {}, BadInputError, "unknown"),
        ("\0", {}, BadInputError, "unknown"),
        ("a\nb", {}, BadInputError, "unknown"),
        ("x" * 100_000, {}, BadInputError, "unknown"),
        ("a/b/c", {}, BadInputError, "unknown"),
        ("../b", {}, BadInputError, "unknown"),
        ("model.onnx", {}, BadInputError, "torch.export"),
        ("model.pth", {}, BadInputError, "run code"),
        ("model.safetensors", {}, BadInputError, "weights alone"),
        ("missing.pt2", {"weights": "auto"}, BadInputError, "does not exist"),
        ("/dev/zero", {}, BadInputError, "neither"),
    ],
)
def test_a_bad_request_is_one_line(
    name: str, overrides: dict[str, object], kind: type[LwcError], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        load(name, **overrides)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_a_zoo_name_wins_over_a_folder_of_that_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.rename(tmp_path / "mobilenet_v1")
    monkeypatch.chdir(tmp_path)
    small = {"image_size": 64, "weights": "random"}
    assert load("mobilenet_v1", **small).module.state_dict()["model.classifier.bias"].shape == (1001,)
    assert load("./mobilenet_v1", **small).module.state_dict()["model.classifier.bias"].shape == (7,)


def test_an_existing_folder_wins_over_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir(tmp_path / "owner")
    folder.rename(tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    model = load("owner/name", weights="auto")
    assert (model.weights, model.source) == ("file", "name")


def test_every_entry_of_the_zoo_has_its_name() -> None:
    assert [entry.name for entry in ZOO.values()] == list(ZOO)
    with pytest.raises(BadInputError, match="did you mean levit_128s"):
        load("levit-128S")


def test_zoo_models_run_in_float64_and_export_after_a_run() -> None:
    """LeViT caches biases in a run; neither a conversion nor an export may see them."""
    from copy import deepcopy

    model = load("levit_128s")
    with torch.no_grad():
        single = model.module(*model.inputs)
        double = deepcopy(model.module).double()(model.inputs[0].double())
        exported = torch.export.export(model.module, model.inputs).module()(*model.inputs)
        again = model.module(*model.inputs)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(single, exported)
    assert torch.equal(single, again)
