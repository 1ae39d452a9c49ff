"""Models that were quantized after training, and in it, are right as often when they are compiled: digits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import lwc
from lwc.models.load import load_model
from lwc.models.request import ModelRequest
from lwc.package.quantization import OWN_RANGES
from tests.quantize.pt2e import quantized_after_training, quantized_in_training, save
from tests.quantize.test_accuracy import BATCH, HELD_OUT, TRAINED, Digits, LikeMobileNetV2, digits, train

pytestmark = pytest.mark.slow

# Convolutions and the classifier.
LAYERS = 15


@pytest.fixture
def net_and_digits(seed: int, rng: torch.Generator) -> tuple[nn.Module, Digits]:
    """A net that was trained in float32."""
    images, labels = digits(rng)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = LikeMobileNetV2()
    train(net, images[:TRAINED], labels[:TRAINED], 12, rng)
    return net, (images, labels)


def compiled_keeps_accuracy(quantized: nn.Module, data: Digits, folder: Path) -> None:
    """Save, compile, and compare the library with the quantized model on all digits that were held out."""
    images, labels = (part[TRAINED:] for part in data)
    path = save(quantized, (images[:1],), folder / "digits.pt2")
    model = load_model(ModelRequest(str(path)), pytest.fail)
    manifest = lwc.compile(str(path), output=folder / "package").manifest
    said = manifest.quantization
    assert said is not None
    assert (said.calibration, said.integer_layers, said.float_layers) == (OWN_RANGES, LAYERS, 0)
    (check,) = manifest.verification.outputs
    assert check.rms_error == 0
    package = lwc.load(folder / "package")
    with torch.no_grad():
        want = torch.cat([model.module(image[None]) for image in images]).numpy()
    got = np.concatenate([package(image[None].numpy()) for image in images])
    before, after = ((logits.argmax(1) == labels.numpy()).sum() for logits in (want, got))
    noise = 20 * np.log10(np.std(want) / np.sqrt(np.mean((got - want) ** 2)))
    print(f"{before} of {HELD_OUT} right as quantized, {after} compiled; {noise:.1f} dB; {said}")
    assert before >= 0.9 * HELD_OUT
    assert abs(int(after) - int(before)) <= 0.005 * HELD_OUT
    assert noise > 30


def test_quantized_after_training(net_and_digits: tuple[nn.Module, Digits], tmp_path: Path) -> None:
    net, data = net_and_digits
    samples = [(image[None],) for image in data[0][:100]]
    compiled_keeps_accuracy(quantized_after_training(net, samples, "x86"), data, tmp_path)


def test_quantized_in_training(net_and_digits: tuple[nn.Module, Digits], tmp_path: Path) -> None:
    net, (images, labels) = net_and_digits

    def fit(module: nn.Module) -> None:
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)
        for start in range(0, TRAINED, BATCH):
            optimizer.zero_grad()
            chosen = slice(start, start + BATCH)
            torch.autograd.backward(functional.cross_entropy(module(images[chosen]), labels[chosen]))
            optimizer.step()

    quantized = quantized_in_training(net, (images[:BATCH],), "xnnpack", fit)
    compiled_keeps_accuracy(quantized, (images, labels), tmp_path)
