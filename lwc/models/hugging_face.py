"""Models of transformers: from the zoo's table, from a local folder, or from the hub."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from lwc.errors import BadInputError, LwcError, UnsupportedError, UsageError
from lwc.models import hub
from lwc.models.architecture import ARCHITECTURES, LogitsOnly, build
from lwc.models.checkpoint import load_checkpoint
from lwc.models.hf_folder import WEIGHTS, FolderModel, read_folder
from lwc.models.names import model_name
from lwc.models.random_weights import randomize
from lwc.models.request import LoadedModel, ModelRequest, WeightsOrigin
from lwc.models.synthetic import example_input
from lwc.models.zoo import ZOO, ZooModel

Warn = Callable[[str], None]


def load_zoo_model(entry: ZooModel, request: ModelRequest, warn: Warn) -> LoadedModel:
    """`entry` under the overrides of `request`, with the weights that it asks for."""
    described = _describe(entry, request)
    if request.weights == "random":
        return _with_random(described, entry.name, request)
    if request.weights not in ("auto", "pretrained"):
        return _with_file(described, entry.name, request, _weights_file(request.weights), "file")
    try:
        folder = hub.fetch(_hub_id(entry, request))
    except LwcError as error:
        if request.weights == "pretrained":
            raise
        warn(f"{error}; {entry.name} gets RANDOM WEIGHTS, its answers mean nothing")
        return _with_random(described, entry.name, request)
    published = _resized(read_folder(folder), _at(described, request))
    return _with_file(published, entry.name, request, folder / WEIGHTS, "pretrained")


def load_folder(folder: Path, request: ModelRequest) -> LoadedModel:
    """A local Hugging Face folder, with its own weights, those of a file, or random ones."""
    source = folder.resolve().name or "model"
    described = _resized(read_folder(folder), _without_reshaping(request))
    if request.weights == "random":
        return _with_random(described, source, request)
    own = request.weights in ("auto", "pretrained")
    path = folder / WEIGHTS if own else _weights_file(request.weights)
    return _with_file(described, source, request, path, "file")


def load_hub_model(hub_id: str, request: ModelRequest, warn: Warn) -> LoadedModel:
    """A model of the hub. The zoo's own checkpoints can do without the hub, with random weights."""
    for entry in ZOO.values():
        if entry.hub_id == hub_id:
            loaded = load_zoo_model(entry, request, warn)
            return replace(loaded, name=model_name(hub_id.partition("/")[2]), source=hub_id)
    loaded = load_folder(hub.fetch(hub_id), request)
    weights: WeightsOrigin = "pretrained" if request.weights in ("auto", "pretrained") else loaded.weights
    name = model_name(hub_id.partition("/")[2])
    return replace(loaded, name=name, source=hub_id, weights=weights)


def _describe(entry: ZooModel, request: ModelRequest) -> FolderModel:
    """The zoo's entry under the overrides; without labels, since they belong to the published weights."""
    config = dict(entry.config)
    if request.num_labels is not None:
        config["num_labels"] = request.num_labels
    if request.width is not None:
        if not entry.has_width:
            raise UsageError(f"{entry.name}: comes in one width; leave the width out")
        config["depth_multiplier"] = float(request.width)
    return _resized(FolderModel(entry.architecture, config, entry.preprocessing, None), request)


def _resized(model: FolderModel, request: ModelRequest) -> FolderModel:
    """`model` under the overrides that leave its weights as they are."""
    config, preprocessing = dict(model.config), model.preprocessing
    if request.output_stride is not None:
        if ARCHITECTURES[model.architecture].family not in ("mobilenet_v2", "mobilevit"):
            raise UsageError(f"{request.model}: has one output stride; leave the output stride out")
        config["output_stride"] = request.output_stride
    if request.image_size is not None:
        preprocessing = preprocessing.with_size(request.image_size)
    height, width = preprocessing.size
    if height != width:
        raise UnsupportedError(f"{request.model}: takes {height} x {width}; only square images are supported")
    return replace(model, config=config | {"image_size": height}, preprocessing=preprocessing)


def _at(described: FolderModel, request: ModelRequest) -> ModelRequest:
    """`request` with the size of `described`: the shape must not depend on which weights are found."""
    return replace(request, image_size=described.preprocessing.size[0])


def _without_reshaping(request: ModelRequest) -> ModelRequest:
    for what, value in (("width", request.width), ("number of labels", request.num_labels)):
        if value is not None:
            raise UsageError(f"{request.model}: its folder fixes the {what}; leave it out")
    return request


def _hub_id(entry: ZooModel, request: ModelRequest) -> str:
    """The published checkpoint of what is asked for. Raises BadInputError where there is none."""
    width = 1.0 if request.width is None else request.width
    difference = None
    if request.num_labels not in (None, entry.num_labels):
        difference = f"with {entry.num_labels} labels, not {request.num_labels}"
    # LeViT learns a bias for each distance between tokens, so that its weights fit one size.
    elif entry.fixed_size and request.image_size not in (None, entry.image_size):
        difference = f"for {entry.image_size}, not {request.image_size} pixels"
    elif width not in {1.0, *entry.checkpoints}:
        widths = ", ".join(map(str, sorted({1.0, *entry.checkpoints})))
        difference = f"in the widths {widths}, not {width}"
    if difference is not None:
        raise BadInputError(
            f"{entry.name}: is published {difference}; give weights in a file, or random ones"
        )
    return entry.checkpoints.get(width, entry.hub_id)


def _weights_file(text: str) -> Path:
    if os.path.isdir(text):
        return Path(text) / WEIGHTS
    if not text.endswith(".safetensors"):
        raise BadInputError(
            f"weights {text[:200]!r}: not auto, pretrained, random, a .safetensors file or its folder"
        )
    return Path(text)


def _with_random(model: FolderModel, source: str, request: ModelRequest) -> LoadedModel:
    module = LogitsOnly(build(model.architecture, model.config, source))
    heads = tuple(f"model.{head}" for head in ARCHITECTURES[model.architecture].heads)
    randomize(module, heads, model.preprocessing.size[0], request.seed)
    return _loaded(replace(model, labels=None), module, source, request, "random")


def _with_file(
    model: FolderModel, source: str, request: ModelRequest, path: Path, origin: WeightsOrigin
) -> LoadedModel:
    inner = build(model.architecture, model.config, source)
    load_checkpoint(inner, path)
    return _loaded(model, LogitsOnly(inner), source, request, origin)


def _loaded(
    model: FolderModel, module: nn.Module, source: str, request: ModelRequest, origin: WeightsOrigin
) -> LoadedModel:
    return LoadedModel(
        name=model_name(source),
        source=source,
        module=module.eval(),
        inputs=(example_input((request.batch, 3, *model.preprocessing.size), request.seed),),
        input_names=("image",),
        output_names=("logits",),
        input_layouts=("NCHW",),
        output_layouts=(ARCHITECTURES[model.architecture].output_layout,),
        preprocessing=model.preprocessing,
        labels=model.labels,
        weights=origin,
    )
