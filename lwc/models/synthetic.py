"""Seeded inputs that look like photographs to a network: smooth, with edges, correlated over the channels."""

import torch
from torch.nn import functional


def natural_images(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """float32 of `shape` (batch, channels, height, width), each image with mean 0 and deviation 1.

    A sum of smooth noise with the same power in each octave of frequency, as photographs have it.
    """
    batch, channels, height, width = shape
    total = torch.zeros(shape)
    size = 2
    while size < 2 * max(height, width):
        rows, columns = min(size, height), min(size, width)
        gray = torch.randn((batch, 1, rows, columns), generator=generator)
        color = torch.randn((batch, channels, rows, columns), generator=generator)
        total += functional.interpolate(gray + 0.4 * color, (height, width), mode="bilinear")
        size *= 2
    deviation, mean = torch.std_mean(total, dim=(1, 2, 3), keepdim=True)
    return (total - mean) / deviation


def vary_exposure(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """`images` with contrast and brightness changed at random, image by image."""
    shape = (len(images), 1, 1, 1)
    contrast = 0.7 + 0.6 * torch.rand(shape, generator=generator)
    return images * contrast + 0.3 * torch.randn(shape, generator=generator)


def example_input(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """float32 of any shape with mean 0 and deviation 1: images for NCHW, white noise for everything else."""
    generator = torch.Generator().manual_seed(seed)
    if len(shape) == 4 and shape[1] <= 4 and min(shape[2:]) >= 8:
        return natural_images(shape, generator)
    return torch.randn(shape, generator=generator)
