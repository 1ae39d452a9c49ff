"""The models that lwc knows by name, as their published checkpoints have them.

Imports neither torch nor transformers, so that listing the names is instant.
"""

import difflib
from dataclasses import dataclass, field
from typing import Any, Literal

from lwc.models.preprocess import Channels, Preprocessing, Resample

Task = Literal["classification", "segmentation"]


@dataclass(frozen=True)
class ZooModel:
    """A named model. `architecture` is a class of transformers, `config` how it differs from its default.

    `checkpoints` maps other widths to their published checkpoints, whose image sizes may differ.
    """

    name: str
    hub_id: str
    task: Task
    architecture: str
    preprocessing: Preprocessing
    config: dict[str, Any]
    checkpoints: dict[float, str] = field(default_factory=dict)

    @property
    def image_size(self) -> int:
        """Height and width of the input that the checkpoint was trained for."""
        return self.preprocessing.size[0]

    @property
    def num_labels(self) -> int:
        """Classes of the published checkpoint."""
        labels = self.config["num_labels"]
        assert isinstance(labels, int)
        return labels

    @property
    def has_width(self) -> bool:
        """Whether a depth multiplier makes it wider or narrower."""
        return self.architecture.startswith("MobileNet")

    @property
    def fixed_size(self) -> bool:
        """Whether the weights fit one image size only."""
        return self.architecture.startswith("Levit")


def suggest(name: str) -> str:
    """What to do about an unknown model name, as the end of an error message."""
    near = difflib.get_close_matches(name.lower().replace("-", "_")[:100], ZOO, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else "`lwc models` lists the names"


def _preprocessing(
    size: int,
    resize: int,
    resample: Resample = "bilinear",
    mean: Channels | None = (0.5, 0.5, 0.5),
    std: Channels | None = (0.5, 0.5, 0.5),
    bgr: bool = False,
) -> Preprocessing:
    return Preprocessing(
        resize=resize, resample=resample, crop=(size, size), rescale=1 / 255, mean=mean, std=std, bgr=bgr
    )


def _levit(size: str, hidden: list[int], heads: list[int], depths: list[int], key: int) -> ZooModel:
    return ZooModel(
        name=f"levit_{size.lower()}",
        hub_id=f"facebook/levit-{size}",
        task="classification",
        architecture="LevitForImageClassificationWithTeacher",
        preprocessing=_preprocessing(224, 256, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        config={
            "num_labels": 1000,
            "hidden_sizes": hidden,
            "num_attention_heads": heads,
            "depths": depths,
            "key_dim": [key] * 3,
        },
    )


def _mobilevit(size: str, **config: Any) -> ZooModel:
    return ZooModel(
        name=f"mobilevit_{size.replace('-', '_')}",
        hub_id=f"apple/mobilevit-{size}",
        task="classification",
        architecture="MobileViTForImageClassification",
        preprocessing=_preprocessing(256, 288, mean=None, std=None, bgr=True),
        config={"num_labels": 1000} | config,
    )


_MODELS = (
    ZooModel(
        name="mobilenet_v1",
        hub_id="google/mobilenet_v1_1.0_224",
        task="classification",
        architecture="MobileNetV1ForImageClassification",
        preprocessing=_preprocessing(224, 256),
        # 1000 classes of ImageNet, after a background class.
        config={"num_labels": 1001},
        checkpoints={0.75: "google/mobilenet_v1_0.75_192"},
    ),
    ZooModel(
        name="mobilenet_v2",
        hub_id="google/mobilenet_v2_1.0_224",
        task="classification",
        architecture="MobileNetV2ForImageClassification",
        preprocessing=_preprocessing(224, 256),
        config={"num_labels": 1001},
        checkpoints={
            0.35: "google/mobilenet_v2_0.35_96",
            0.75: "google/mobilenet_v2_0.75_160",
            1.4: "google/mobilenet_v2_1.4_224",
        },
    ),
    _levit("128S", [128, 256, 384], heads=[4, 6, 8], depths=[2, 3, 4], key=16),
    _levit("128", [128, 256, 384], heads=[4, 8, 12], depths=[4, 4, 4], key=16),
    _levit("192", [192, 288, 384], heads=[3, 5, 6], depths=[4, 4, 4], key=32),
    _levit("256", [256, 384, 512], heads=[4, 6, 8], depths=[4, 4, 4], key=32),
    _levit("384", [384, 512, 768], heads=[6, 9, 12], depths=[4, 4, 4], key=32),
    _mobilevit(
        "xx-small",
        hidden_sizes=[64, 80, 96],
        neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
        hidden_dropout_prob=0.05,
        expand_ratio=2.0,
    ),
    _mobilevit("x-small", hidden_sizes=[96, 120, 144], neck_hidden_sizes=[16, 32, 48, 64, 80, 96, 384]),
    _mobilevit("small", hidden_sizes=[144, 192, 240], neck_hidden_sizes=[16, 32, 64, 96, 128, 160, 640]),
    ZooModel(
        name="deeplabv3_mobilenet_v2",
        hub_id="google/deeplabv3_mobilenet_v2_1.0_513",
        task="segmentation",
        architecture="MobileNetV2ForSemanticSegmentation",
        preprocessing=_preprocessing(513, 545),
        config={"num_labels": 21, "output_stride": 8},
    ),
    ZooModel(
        name="deeplabv3_mobilevit_small",
        hub_id="apple/deeplabv3-mobilevit-small",
        task="segmentation",
        architecture="MobileViTForSemanticSegmentation",
        preprocessing=_preprocessing(512, 544, mean=None, std=None, bgr=True),
        config={"num_labels": 21, "output_stride": 16},
    ),
)

ZOO = {model.name: model for model in _MODELS}
