"""The classes of transformers that lwc compiles, built from checked configurations."""

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import transformers
from torch import nn

from lwc.errors import BadInputError, UnsupportedError
from lwc.files import one_line


@dataclass(frozen=True)
class Architecture:
    """A supported class: its model_type, its configuration's class, and the layers that give the logits."""

    family: str
    config: str
    heads: tuple[str, ...]

    @property
    def output_layout(self) -> str:
        """Layout of the logits."""
        return "NCHW" if self.heads == _SEGMENTATION else "N,classes"


_CLASSIFIER, _LEVIT = ("classifier",), ("classifier.linear",)
_SEGMENTATION = ("segmentation_head.classifier.convolution",)
ARCHITECTURES = {
    "MobileNetV1ForImageClassification": Architecture("mobilenet_v1", "MobileNetV1Config", _CLASSIFIER),
    "MobileNetV2ForImageClassification": Architecture("mobilenet_v2", "MobileNetV2Config", _CLASSIFIER),
    "MobileNetV2ForSemanticSegmentation": Architecture("mobilenet_v2", "MobileNetV2Config", _SEGMENTATION),
    "LevitForImageClassification": Architecture("levit", "LevitConfig", _LEVIT),
    "LevitForImageClassificationWithTeacher": Architecture(
        "levit", "LevitConfig", (*_LEVIT, "classifier_distill.linear")
    ),
    "MobileViTForImageClassification": Architecture("mobilevit", "MobileViTConfig", _CLASSIFIER),
    "MobileViTForSemanticSegmentation": Architecture("mobilevit", "MobileViTConfig", _SEGMENTATION),
}
FAMILIES = tuple(sorted({architecture.family for architecture in ARCHITECTURES.values()}))

# What shapes the network, with the largest value that is still lightweight: a file must not ask for a
# billion layers. All other keys of a configuration concern training, or where it came from.
_LIMITS = {
    "aspp_out_channels": 4096,
    "atrous_rates": 256,
    "attention_ratio": 16,
    "conv_kernel_size": 31,
    "depth_divisible_by": 256,
    "depth_multiplier": 4,
    "depths": 64,
    "expand_ratio": 32,
    "hidden_sizes": 4096,
    "image_size": 2048,
    "kernel_size": 31,
    "key_dim": 512,
    "layer_norm_eps": 1,
    "min_depth": 4096,
    "mlp_ratio": 16,
    "neck_hidden_sizes": 4096,
    "num_attention_heads": 256,
    "num_channels": 3,
    "num_labels": 65536,
    "output_stride": 32,
    "padding": 64,
    "patch_size": 256,
    "stride": 16,
}
_FLAGS = ("finegrained_output", "first_layer_is_expansion", "qkv_bias", "tf_padding")
_MAX_LIST = 16
# LeViT makes a table of all pairs of its tokens in Python, at every layer.
_MAX_LEVIT_SIZE = 384


class LogitsOnly(nn.Module):
    """A model of transformers that takes the image by position and returns the logits tensor alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of `image`, float32 (N, 3, height, width)."""
        logits: torch.Tensor = self.model(pixel_values=image).logits
        return logits


def shaping_values(config: dict[str, Any], where: str) -> dict[str, Any]:
    """The entries of `config` that shape the network, checked. Raises BadInputError, UnsupportedError."""
    values = {}
    for key in config.keys() & _LIMITS.keys():
        values[key] = _bounded(config[key], key, where)
    for key in config.keys() & set(_FLAGS):
        if not isinstance(config[key], bool):
            raise BadInputError(f"{where}: {key} is {config[key]!r:.40}, not true or false; correct it")
        values[key] = config[key]
    if isinstance(config.get("hidden_act"), str):
        values["hidden_act"] = config["hidden_act"]
    size = values.get("image_size")
    if isinstance(size, list):
        if len(set(size)) != 1:
            raise UnsupportedError(f"{where}: image_size is {size}; only square images are supported")
        values["image_size"] = size[0]
    if values.get("num_channels", 3) != 3:
        raise UnsupportedError(f"{where}: num_channels is {values['num_channels']}; only RGB is supported")
    return values


def build(architecture: str, config: dict[str, Any], where: str) -> nn.Module:
    """The class called `architecture` in eval mode, with unspecified weights that take no gradient.

    The global random state is left as it was. Raises BadInputError, naming `where`, for a configuration
    that makes no network.
    """
    known = ARCHITECTURES[architecture]
    _check_levit(known, config, where)
    try:
        values = getattr(transformers, known.config)(**config)
        with torch.random.fork_rng(devices=[]):
            model = getattr(transformers, architecture)(values)
    except Exception as error:
        reason = one_line(error, 300)
        raise BadInputError(f"{where}: does not describe a {architecture} ({reason}); correct it") from None
    assert isinstance(model, nn.Module)
    for module in model.modules():
        if hasattr(module, "attention_bias_cache"):
            vars(module)["get_attention_biases"] = MethodType(_attention_biases, module)
    return model.eval().requires_grad_(False)


def _attention_biases(layer: Any, device: torch.device) -> torch.Tensor:
    """LeViT's biases without its cache, which outlives `.double()` and keeps torch.export's fake tensors."""
    biases: torch.Tensor = layer.attention_biases[:, layer.attention_bias_idxs]
    return biases


def _bounded(value: Any, key: str, where: str) -> Any:
    items = value if isinstance(value, list) else [value]
    limit = _LIMITS[key]
    for item in items:
        # bool is an int to Python, and NaN fails every comparison.
        if isinstance(item, bool) or not isinstance(item, int | float) or not 0 <= item <= limit:
            raise BadInputError(f"{where}: {key} is {value!r:.60}, not from 0 to {limit}; correct it")
    if len(items) > _MAX_LIST:
        raise BadInputError(f"{where}: {key} has {len(items)} entries, over {_MAX_LIST}; correct it")
    return value


def _check_levit(known: Architecture, config: dict[str, Any], where: str) -> None:
    if known.family != "levit":
        return
    size = config.get("image_size", 224)
    if size % 16 or not 32 <= size <= _MAX_LEVIT_SIZE:
        raise BadInputError(
            f"{where}: image size {size} does not suit LeViT; give a multiple of 16 up to {_MAX_LEVIT_SIZE}"
        )
