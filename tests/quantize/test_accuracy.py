"""INT8 is right nearly as often as float32: MobileNetV1 on photographs, small nets on handwritten digits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.models.evaluate import evaluate, read_labels
from lwc.models.load import load_model
from lwc.models.request import ModelRequest
from lwc.pipeline import Pipeline
from lwc.quantize.data import CalibrationData, read_calibration
from lwc.quantizing import FLOAT_ONLY, Quantized, to_integers
from lwc.rewriting import PassOptions, rewrite
from lwc.targets.resolve import resolve_target
from lwc.trace import trace

pytestmark = pytest.mark.slow

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
IMAGES = DATA / "imagenet_sample"

# Of 200 images, how many more may be wrong.
LOST = {"mobilenet_v1_0.5_160": 2, "mobilenet_v1_0.25_128": 4}


def quantized(module: nn.Module, inputs: tuple[torch.Tensor, ...], data: CalibrationData) -> Quantized:
    """As `--precision int8` does it."""
    traced = replace(trace(module, inputs, ("x",)), target=resolve_target("x86-64-v3"))
    options = PassOptions(verify=False)
    passes = tuple(item for item in options.pipeline().passes if item.name != FLOAT_ONLY)
    return to_integers(rewrite(options, Pipeline(passes), traced).program, data, lambda text: None)


@pytest.mark.parametrize("name", LOST)
def test_mobilenet_on_photographs(name: str) -> None:
    if not (DATA / name).is_dir() or not IMAGES.is_dir():
        pytest.skip("no weights or images: ../shared/data lacks them")
    warnings: list[str] = []
    model = load_model(ModelRequest(str(DATA / name)), warnings.append)
    data = read_calibration(str(IMAGES / "calibration"), model, 0, warnings.append)
    assert warnings == []
    integer = quantized(model.module, model.inputs, data).integer
    images = read_labels(IMAGES / "evaluation")
    assert len(images) == 200
    before, after = evaluate([model.module, integer.module], model, images, lambda text: None)
    print(f"{name}: {before.top1} of 200 right in float32, {after.top1} in INT8")
    assert before.top1 >= 80
    assert after.top1 >= before.top1 - LOST[name]


# Small nets that are trained here. A digit is 8 x 8 pixels.


def conv(channels: int, filters: int, size: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution and its batch norm."""
    layer = nn.Conv2d(channels, filters, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(filters))


class Inverted(nn.Module):
    """An inverted residual of MobileNetV2."""

    def __init__(self, channels: int, filters: int, stride: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        wide = 4 * channels
        self.adds = stride == 1 and channels == filters
        self.body = nn.Sequential(
            *(conv(channels, wide), activation()),
            *(conv(wide, wide, 3, stride=stride, groups=wide), activation()),
            conv(wide, filters),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The image, smaller by the stride."""
        y: torch.Tensor = self.body(x)
        return x + y if self.adds else y


class Block(nn.Module):
    """Attention of two heads and an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.projections = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (N, length, width)."""
        first, second = self.norms
        *inputs, last = self.projections
        batch, length, width = x.shape
        y = first(x)
        heads = [own(y).reshape(batch, length, 2, width // 2).transpose(1, 2) for own in inputs]
        mixed = functional.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(batch, length, width)
        x = x + last(mixed)
        return torch.as_tensor(x + self.mlp(second(x)))


class LikeMobileNetV2(nn.Module):
    """Inverted residuals with ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [(16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 24, 1)]
        self.body = nn.Sequential(
            *(conv(1, 16, 3), nn.ReLU6()),
            *(Inverted(*block, nn.ReLU6) for block in blocks),
            *(conv(24, 48), nn.ReLU6()),
        )
        self.head = nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ten logits."""
        return torch.as_tensor(self.head(self.body(x).mean((2, 3))))


class LikeLevit(nn.Module):
    """A stem of convolutions with hardswish, and a transformer on what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(1, 16, 3), nn.Hardswish(), conv(16, 32, 3, stride=2))
        self.position = nn.Parameter(torch.zeros(1, 16, 32))
        self.body = nn.Sequential(Block(32), Block(32), nn.LayerNorm(32))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ten logits."""
        tokens = self.stem(x).flatten(2).transpose(1, 2) + self.position
        return torch.as_tensor(self.head(self.body(tokens).mean(1)))


class LikeMobileVit(nn.Module):
    """Inverted residuals with SiLU, and a transformer on 2 x 2 patches, whose result joins the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(1, 16, 3), nn.SiLU(), Inverted(16, 16, 1, nn.SiLU))
        self.enter = nn.Sequential(conv(16, 16, 3), nn.SiLU(), nn.Conv2d(16, 24, 1))
        self.body = nn.Sequential(Block(24), nn.LayerNorm(24))
        self.leave = nn.Sequential(conv(24, 16), nn.SiLU())
        self.join = nn.Sequential(conv(32, 16, 3), nn.SiLU(), Inverted(16, 24, 2, nn.SiLU))
        self.head = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ten logits."""
        x = self.stem(x)
        batch = x.shape[0]
        # Pixels in the same corner of their patches are tokens of one sequence.
        patches = self.enter(x).reshape(batch, 24, 4, 2, 4, 2).permute(0, 3, 5, 2, 4, 1)
        y = self.body(patches.reshape(batch * 4, 16, 24)).reshape(batch, 2, 2, 4, 4, 24)
        y = self.leave(y.permute(0, 5, 3, 1, 4, 2).reshape(batch, 24, 8, 8))
        return torch.as_tensor(self.head(self.join(torch.cat([x, y], 1)).mean((2, 3))))


NETS: dict[str, Callable[[], nn.Module]] = {
    "like MobileNetV2": LikeMobileNetV2,
    "like LeViT": LikeLevit,
    "like MobileViT": LikeMobileVit,
}
# By what an epoch costs.
EPOCHS = {"like MobileNetV2": 24, "like LeViT": 24, "like MobileViT": 6}
BATCH, TRAINED, HELD_OUT = 50, 1200, 597

Digits = tuple[torch.Tensor, torch.Tensor]


def digits(rng: torch.Generator) -> Digits:
    """All 1797 handwritten digits of scikit-learn in random order, pixels of about unit variance."""
    datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_digits()
    order = torch.randperm(len(found.target), generator=rng)
    images = torch.from_numpy(found.images.astype(np.float32)) / 8 - 0.6
    return images[order][:, None], torch.from_numpy(found.target)[order]


def train(
    net: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int, rng: torch.Generator
) -> None:
    """Adam, with a rate that rises and falls."""
    steps = epochs * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    net.train()
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=rng)
        for start in range(0, len(images), BATCH):
            chosen = order[start : start + BATCH]
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(net(images[chosen]), labels[chosen]))
            optimizer.step()
            schedule.step()
    net.eval()


def right(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> int:
    """How many of the images, one at a time, have their class as the likeliest."""
    with torch.no_grad():
        logits = torch.cat([module(image[None]) for image in images])
    return int((logits.argmax(1) == labels).sum())


@pytest.mark.parametrize("name", NETS)
def test_a_net_trained_on_digits(name: str, seed: int, rng: torch.Generator) -> None:
    images, labels = digits(rng)
    assert len(images) == TRAINED + HELD_OUT
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = NETS[name]()
    train(net, images[:TRAINED], labels[:TRAINED], EPOCHS[name], rng)
    samples = tuple((image[None],) for image in images[:100])
    found = quantized(net, samples[0], CalibrationData(samples, "100 digits"))
    held_out = images[TRAINED:], labels[TRAINED:]
    before, after = right(net, *held_out), right(found.integer.module, *held_out)
    print(f"{name}: {before} of {HELD_OUT} right in float32, {after} in INT8, {found.quantization}")
    assert before >= 0.93 * HELD_OUT
    # One point.
    assert after >= before - 0.01 * HELD_OUT
