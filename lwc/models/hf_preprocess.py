"""The `preprocessor_config.json` of Hugging Face, in today's form and in that of the older checkpoints."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lwc.errors import BadInputError, UnsupportedError
from lwc.models.preprocess import Preprocessing, Resample

_RESAMPLE: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_STANDARD = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
# The processors' defaults; a file states only what differs.
_COMMON = {
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "do_flip_channel_order": False,
    "crop_size": 224,
    "resample": 2,
}
_MOBILENET = _COMMON | _STANDARD | {"size": 256}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "mobilenet_v1": _MOBILENET,
    "mobilenet_v2": _MOBILENET,
    "levit": _COMMON | _IMAGENET | {"size": 224, "resample": 3},
    "mobilevit": _COMMON
    | {"size": 224, "crop_size": 256, "resample": 3, "do_normalize": False, "do_flip_channel_order": True},
}


def preprocessing_from_hugging_face(config: Mapping[str, Any], family: str, where: str) -> Preprocessing:
    """What the image processor of `family` (a model_type) does under `config`; `where` names it in errors.

    Raises BadInputError for a malformed entry, UnsupportedError for a kind of resizing not known here.
    """
    values = _DEFAULTS[family] | {key: value for key, value in config.items() if value is not None}
    try:
        resize = _size(values["size"], where) if values["do_resize"] else None
        if family == "levit" and isinstance(resize, int):
            # Its processor enlarges the edge by itself.
            resize = int(256 / 224 * resize)
        crop = _size(values["crop_size"], where) if values["do_center_crop"] else None
        # MobileViT's processor has no normalisation, whatever its file says.
        normalize = values["do_normalize"] and family != "mobilevit"
        return Preprocessing(
            resize=resize,
            resample=_resample(values["resample"], where),
            crop=(crop, crop) if isinstance(crop, int) else crop,
            rescale=float(values["rescale_factor"]) if values["do_rescale"] else 1.0,
            mean=_channels(values["image_mean"]) if normalize else None,
            std=_channels(values["image_std"]) if normalize else None,
            bgr=bool(values["do_flip_channel_order"]) and family == "mobilevit",
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        what = f"{first['loc'][0]}: " if first["loc"] else ""
        raise BadInputError(f"{where}: {what}{first['msg']:.150}; correct it") from None
    except (TypeError, ValueError, OverflowError, KeyError):
        raise BadInputError(f"{where}: an entry is not of the type that it should be; correct it") from None


def _size(value: Any, where: str) -> Any:
    """A number for the shortest edge, or (height, width)."""
    if isinstance(value, int):
        return value
    if isinstance(value, dict):
        if set(value) == {"shortest_edge"}:
            return value["shortest_edge"]
        if set(value) == {"height", "width"}:
            return value["height"], value["width"]
    raise UnsupportedError(
        f"{where}: size {value!r:.80} is not supported; give shortest_edge, or height, width"
    )


def _resample(value: Any, where: str) -> Resample:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(_RESAMPLE):
        raise BadInputError(f"{where}: resample is {value!r:.40}, not a number from 0 to 5; correct it")
    return _RESAMPLE[value]


def _channels(value: Any) -> Any:
    """Three numbers; one stands for all three."""
    values = [value] * 3 if isinstance(value, int | float) else value
    return tuple(float(item) for item in values)
