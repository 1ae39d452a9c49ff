"""A Hugging Face folder: config.json, model.safetensors and perhaps preprocessor_config.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lwc.errors import BadInputError, UnsupportedError
from lwc.files import read_json_object
from lwc.models.architecture import ARCHITECTURES, FAMILIES, shaping_values
from lwc.models.hf_preprocess import preprocessing_from_hugging_face
from lwc.models.preprocess import Preprocessing

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
_MAX_LABEL = 200


@dataclass(frozen=True)
class FolderModel:
    """What the JSON files of a folder say."""

    architecture: str
    config: dict[str, Any]
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None


def read_folder(folder: Path) -> FolderModel:
    """Read and check the JSON files of `folder`; the weights are not looked at.

    Raises BadInputError for a malformed file, UnsupportedError for another architecture than those known.
    """
    path = folder / CONFIG
    config = read_json_object(path)
    architecture = _architecture(config, path)
    values = shaping_values(config, str(path))
    labels = _labels(config, path)
    if labels is not None:
        values["num_labels"] = len(labels)
    preprocessing = _preprocessing(folder, ARCHITECTURES[architecture].family, values.get("image_size"))
    return FolderModel(architecture, values, preprocessing, labels if _are_real(labels) else None)


def _architecture(config: dict[str, Any], path: Path) -> str:
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UnsupportedError(
            f"{path}: model_type {family!r:.60} is not supported; lwc compiles {', '.join(FAMILIES)}"
        )
    listed = config.get("architectures")
    name = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(name, str) or name not in ARCHITECTURES or ARCHITECTURES[name].family != family:
        choices = [key for key, value in ARCHITECTURES.items() if value.family == family]
        raise UnsupportedError(
            f"{path}: architecture {name!r:.60} of model_type {family} is not supported; "
            f"lwc compiles {', '.join(choices)}"
        )
    return name


def _labels(config: dict[str, Any], path: Path) -> tuple[str, ...] | None:
    """The entries of id2label in the order of their numbers."""
    table = config.get("id2label")
    if table is None:
        return None
    if not isinstance(table, dict) or set(table) != {str(index) for index in range(len(table))} or not table:
        raise BadInputError(f"{path}: id2label does not number its classes from 0 without gaps; correct it")
    labels = [table[str(index)] for index in range(len(table))]
    if not all(isinstance(label, str) for label in labels):
        raise BadInputError(f"{path}: id2label holds something else than strings; correct it")
    # A label ends up in a terminal: no control characters.
    return tuple("".join(c if c.isprintable() else " " for c in label[:_MAX_LABEL]) for label in labels)


def _are_real(labels: tuple[str, ...] | None) -> bool:
    return labels is not None and any(label != f"LABEL_{index}" for index, label in enumerate(labels))


def _preprocessing(folder: Path, family: str, image_size: int | None) -> Preprocessing:
    path = folder / PREPROCESSOR
    if path.exists():
        return preprocessing_from_hugging_face(read_json_object(path), family, str(path))
    # Saved without its processor: the family's defaults, at the size that the configuration tells.
    default = preprocessing_from_hugging_face({}, family, str(path))
    return default.with_size(image_size) if image_size else default
