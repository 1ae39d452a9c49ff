"""Random weights under which a network behaves like a trained one: well-scaled activations and logits.

A network as transformers initialises it answers 1e-33 to everything; comparing such answers proves nothing.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lwc.models.synthetic import natural_images, vary_exposure

# Of images for the batch norms' statistics: the norm of a pooled map sees one value an image. Larger images
# are calibrated at the largest size here, which costs a quarter and gives nearly the same statistics.
_BATCHES, _BATCH, _LARGEST = 4, 8, 224
# Of images, at their true size, for the scale of the logits.
_TRIALS = 3
# The scale of the batch norms over tokens (LeViT's, in attention, multilayer perceptrons and heads). At 1 the
# residual branches drown the trunk, and the logits of single images are up to 37 times those of the others.
_TOKEN_NORM = 0.3


def randomize(model: nn.Module, heads: tuple[str, ...], image_size: int, seed: int) -> None:
    """Give all weights of `model` seeded random values, and calibrate batch norms and logits, in place.

    `model`, in eval mode, takes float32 (N, 3, image_size, image_size) and returns logits with the classes on
    axis 1; `heads` names its layers that compute them. The global random state stays as it is.
    """
    generator = torch.Generator().manual_seed(seed)
    size = min(image_size, _LARGEST)
    with torch.no_grad(), _one_thread():
        for module in model.modules():
            _initialize(module, generator)
        batches = [natural_images((_BATCH, 3, size, size), generator) for _ in range(_BATCHES)]
        _calibrate(model, [vary_exposure(batch, generator) for batch in batches])
        _scale_logits(model, heads, natural_images((_TRIALS, 3, image_size, image_size), generator))


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same bits whatever the number of cores; and two threads on busy ones take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _initialize(module: nn.Module, generator: torch.Generator) -> None:
    """Kaiming for weights, values around a norm's usual scale and around 0 for its shift, small ones for the rest."""
    scale = _TOKEN_NORM if isinstance(module, nn.BatchNorm1d) else 1.0
    norm = isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm)
    for name, parameter in module.named_parameters(recurse=False):
        mean, deviation = 0.0, 0.1 * scale
        if norm and name == "weight":
            mean = scale
        elif name == "weight" and parameter.dim() > 1:
            # A convolution here is followed by a rectifier, which halves the power; a linear layer is not.
            gain = 2.0 if isinstance(module, nn.Conv2d) else 1.0
            deviation = math.sqrt(gain / parameter[0].numel())
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation + mean)


def _calibrate(model: nn.Module, batches: list[torch.Tensor]) -> None:
    """Set every batch norm's running statistics to the average over `batches`; dropout stays off."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        # None means the cumulative average.
        norm.momentum = None
    for batch in batches:
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _scale_logits(model: nn.Module, heads: tuple[str, ...], images: torch.Tensor) -> None:
    """Scale the heads so that the logits' standard deviation over the classes is 1 for a typical image."""
    deviation = model(images).std(dim=1).reshape(len(images), -1).mean(dim=1).median()
    for name in heads:
        for parameter in model.get_submodule(name).parameters():
            parameter.div_(deviation)
