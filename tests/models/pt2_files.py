"""Exported programs as files, and ways to change what is in them."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lwc.errors import LwcError
from lwc.models.load import load_model
from lwc.models.request import LoadedModel, ModelRequest

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Net(nn.Module):
    """A convolution, a batch norm, a buffer, a tensor constant, a constant in the code, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 5)
        self.register_buffer("offset", torch.arange(5.0))
        self.factor = torch.tensor([0.3])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(self.norm(self.conv(image))).mean((2, 3))
        scale = self.factor.to(torch.float32) + torch.tensor(0.1)
        return self.linear(features) * scale + self.offset, features


class Payload:
    """Pickled, it writes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return open, (str(self.marker), "w")


def export(path: Path, net: nn.Module, *inputs: torch.Tensor, **options: Any) -> Path:
    torch.export.save(torch.export.export(net.eval(), inputs, **options), path)
    return path


Files = dict[str, bytes]


def read_files(path: Path) -> Files:
    """The entries without their common root."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write_files(path: Path, files: Files, root: str = "net/", compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(root + name, content)


def edit(path: Path, entry: str, change: Callable[[Any], Any]) -> None:
    """Change the JSON in `entry`, in place."""
    files = read_files(path)
    value = json.loads(files[entry])
    change(value)
    files[entry] = json.dumps(value).encode()
    write_files(path, files)


def load(path: Path, **overrides: object) -> LoadedModel:
    return load_model(ModelRequest(str(path), **overrides), warn=pytest.fail)  # type: ignore[arg-type]


def refusal(path: Path, default: str) -> str:
    """The error of loading `path`, or `default` where there is none; any other exception goes through."""
    try:
        load(path)
    except LwcError as error:
        return str(error)
    return default


def raises_one_line(path: Path, words: str, kind: type[LwcError] = LwcError) -> None:
    with pytest.raises(kind, match=words) as caught:
        load(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
