"""From what the user names to a module, its example inputs and what is known of them."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from lwc.errors import BadInputError, UsageError
from lwc.models.request import LoadedModel, ModelRequest
from lwc.models.zoo import ZOO, suggest

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_ADVICE = {
    ".onnx": "export the PyTorch model with torch.export.save to a .pt2 file",
    ".pt": "pickles can run code; export the model with torch.export.save to a .pt2 file",
    ".pth": "pickles can run code; export the model with torch.export.save to a .pt2 file",
    ".bin": "pickles can run code; give the Hugging Face folder with model.safetensors",
    ".safetensors": "weights alone are no model; name the model and give this as its weights",
}


def load_model(request: ModelRequest, warn: Callable[[str], None]) -> LoadedModel:
    """The model that `request` names. The first of these that fits says what the name means:

    1. the exact name of a zoo model (for a folder of that name write ./name);
    2. a name that ends in .pt2: a file of torch.export.save;
    3. `package.module:factory`: a callable without arguments that returns (module, example inputs); modules
       of the current directory are found, too;
    4. an existing folder: a Hugging Face folder with config.json and model.safetensors;
    5. `owner/name`: a model of the Hugging Face hub.

    `warn` gets one line where pretrained weights were wanted (`weights="auto"`) and random ones are used.
    Raises UsageError for an override that the model does not have, BadInputError for what is missing or
    malformed, UnsupportedError for what lwc cannot compile, ResourceError where the hub is out of reach.
    """
    name = request.model
    if name in ZOO:
        from lwc.models.hugging_face import load_zoo_model

        return load_zoo_model(ZOO[name], request, warn)
    if name.endswith(".pt2"):
        _refuse_overrides(request, "a .pt2 file")
        from lwc.models.pt2 import load_pt2

        return load_pt2(Path(name), request.seed)
    if _FACTORY.fullmatch(name):
        _refuse_overrides(request, "a factory")
        from lwc.models.factory import load_factory

        return load_factory(name, request.seed)
    return _load_hugging_face(name, request, warn)


def _load_hugging_face(name: str, request: ModelRequest, warn: Callable[[str], None]) -> LoadedModel:
    # Not Path.is_dir, which raises for a name that is too long or has a NUL in it.
    if os.path.isdir(name):
        from lwc.models.hugging_face import load_folder

        return load_folder(Path(name), request)
    suffix = os.path.splitext(name)[1]
    if suffix in _ADVICE:
        raise BadInputError(f"model {name[:200]!r}: cannot be read; {_ADVICE[suffix]}")
    if os.path.exists(name):
        raise BadInputError(f"model {name[:200]!r}: is neither a .pt2 file nor a folder; give one of them")
    if _HUB_ID.fullmatch(name):
        from lwc.models.hugging_face import load_hub_model

        return load_hub_model(name, request, warn)
    raise BadInputError(f"model {name[:200]!r}: unknown; {suggest(name)}")


def _refuse_overrides(request: ModelRequest, kind: str) -> None:
    """Everything about `kind` is fixed by itself. Raises UsageError for any override."""
    given = {
        "width": request.width,
        "image size": request.image_size,
        "output stride": request.output_stride,
        "number of labels": request.num_labels,
        "batch": None if request.batch == 1 else request.batch,
        "weights": None if request.weights == "auto" else request.weights,
    }
    for what, value in given.items():
        if value is not None:
            raise UsageError(f"{request.model[:200]}: {kind} fixes the {what}; leave it out")
