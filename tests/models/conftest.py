"""What the tests of the models share: a small Hugging Face folder, and where real weights lie."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lwc.models.architecture import LogitsOnly
from lwc.models.random_weights import randomize
from tests.models.pt2_files import Net, export

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
NARROW = {"depth_multiplier": 0.25, "image_size": 64, "num_labels": 7}


@pytest.fixture
def shared_data() -> Path:
    """Two MobileNets with ImageNet weights, and images; they are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip("no real weights: ../shared/data does not exist")
    return SHARED


@pytest.fixture(scope="session")
def original_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a narrow MobileNetV1, as save_pretrained of transformers writes it."""
    config = transformers.MobileNetV1Config(**NARROW)
    model = transformers.MobileNetV1ForImageClassification(config).eval()
    # As transformers initialises it, it would answer 1e-33 to everything.
    randomize(LogitsOnly(model), ("model.classifier",), image_size=64, seed=0)
    path = tmp_path_factory.mktemp("original")
    model.save_pretrained(path)
    return path


@pytest.fixture
def folder(original_folder: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be changed."""
    return Path(shutil.copytree(original_folder, tmp_path / "My-Model"))


@pytest.fixture
def edit_config(folder: Path) -> Callable[..., None]:
    """Change entries of the folder's config.json."""

    def edit(**changes: object) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


@pytest.fixture
def edit_weights(folder: Path) -> Callable[..., None]:
    """Change tensors of the folder's model.safetensors; None removes one."""

    def edit(**changes: torch.Tensor | None) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path) | {name.replace("__", "."): value for name, value in changes.items()}
        save_file({name: value for name, value in tensors.items() if value is not None}, path)

    return edit


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return export(tmp_path / "My Net.pt2", Net(), torch.randn(1, 3, 8, 8))
