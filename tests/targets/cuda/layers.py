"""Layers of random numbers for the templates of products and convolutions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional

from lwc.targets.kernels.conv2d import Window
from lwc.targets.kernels.cuda import conv2d, depthwise, gemm, separable
from lwc.targets.kernels.epilogue import Epilogue
from lwc.targets.target import Target
from tests.targets.cuda.emulation import GPU, Array, Layer, scheduled

SEED = 20
_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda x: x,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class Linear:
    """A product of (rows, inner) and (inner, columns)."""

    rows: int
    inner: int
    columns: int
    residual: bool = True
    epilogue: Epilogue = field(default=Epilogue("silu"))

    def layer(self, rng: np.random.Generator, target: Target = GPU) -> Layer:
        kernel = gemm.plan(self.rows, self.inner, self.columns, self.epilogue, target)
        x, weight = numbers(rng, self.rows, self.inner), numbers(rng, self.columns, self.inner)
        weight /= np.sqrt(self.inner)
        bias, residual = numbers(rng, self.columns), numbers(rng, self.rows, self.columns)
        x, weight, residual = stored(target, x, weight, residual)
        more = (residual,) if self.residual else ()
        operands = (x, gemm.pack(kernel, weight), bias, *more)

        def eager(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *r: torch.Tensor) -> torch.Tensor:
            return finish(self.epilogue, functional.linear(x, w, b), *r)

        return Layer(scheduled(kernel, gemm, *operands), operands, eager, (x, weight, bias, *more))


@dataclass(frozen=True)
class Convolution:
    """A convolution of an NHWC image of `shape`, or of an NCHW one of the same extents."""

    shape: tuple[int, int, int, int]
    outputs: int
    groups: int = 1
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilation: int = 1
    layout: str = "NHWC"
    residual: bool = True
    epilogue: Epilogue = field(default=Epilogue("identity", 0.0, 6.0))

    def layer(self, rng: np.random.Generator, target: Target = GPU) -> Layer:
        batch, height, width, channels = self.shape
        window = Window(self.kernel, (self.stride,) * 2, self.padding, (self.dilation,) * 2)
        each = channels // self.groups
        x, weight = numbers(rng, *self.shape), numbers(rng, self.outputs, each, *self.kernel)
        weight /= np.sqrt(each * np.prod(self.kernel))
        extents = (batch, *window.output_size(height, width), self.outputs)
        bias, residual = numbers(rng, self.outputs), numbers(rng, *extents) if self.residual else None
        x, weight, *more = stored(target, x, weight, *(() if residual is None else (residual,)))
        constants = (weight, bias)
        image = x if self.layout == "NHWC" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        if self.groups == channels == self.outputs:
            alone = depthwise.plan(self.shape, window, self.epilogue, target)
            operands = (image, depthwise.pack(weight.astype(np.float32)), bias, *more)
            function = scheduled(alone, depthwise, *operands)
        else:
            dense = conv2d.plan(
                image.shape, self.outputs, self.groups, window, self.layout, self.epilogue, target
            )
            operands = (image, conv2d.pack(dense, weight), bias, *more)
            function = scheduled(dense, conv2d, *operands)
        return Layer(function, operands, self._eager, (x, *constants, *more))

    def _eager(self, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, *r: torch.Tensor) -> torch.Tensor:
        top, bottom, left, right = self.padding
        padded = functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
        y = functional.conv2d(padded, w, b, self.stride, 0, self.dilation, self.groups)
        return finish(self.epilogue, y.permute(0, 2, 3, 1), *r)


@dataclass(frozen=True)
class Separable:
    """A depthwise convolution of an NHWC image of `shape`, clamped as ReLU6 does, and a pointwise one after it."""

    shape: tuple[int, int, int, int]
    outputs: int
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilation: tuple[int, int] = (1, 1)
    residual: bool = True
    first: Epilogue = field(default=Epilogue("identity", 0.0, 6.0))
    epilogue: Epilogue = field(default=Epilogue("silu"))

    def layer(self, rng: np.random.Generator, target: Target = GPU) -> Layer:
        channels = self.shape[3]
        window = Window(self.kernel, (self.stride,) * 2, self.padding, self.dilation)
        kernel = separable.plan(self.shape, self.outputs, window, (self.first, self.epilogue), target)
        x, window_weight = numbers(rng, *self.shape), numbers(rng, channels, 1, *self.kernel)
        weight = numbers(rng, self.outputs, channels) / np.sqrt(channels, dtype=np.float32)
        window_weight /= np.sqrt(np.prod(self.kernel))
        window_bias, bias = numbers(rng, channels), numbers(rng, self.outputs)
        more = [numbers(rng, *kernel.extents)] if self.residual else []
        x, window_weight, weight, *more = stored(target, x, window_weight, weight, *more)
        packed_window, packed = separable.pack(kernel, window_weight, weight)
        operands = (x, packed_window, window_bias, packed, bias, *more)
        tensors = (x, window_weight, window_bias, weight, bias, *more)
        return Layer(scheduled(kernel, separable, *operands), operands, self._eager, tensors)

    def _eager(self, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        window_weight, window_bias, weight, bias, *residual = rest
        top, bottom, left, right = self.padding
        padded = functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
        options = (self.stride, 0, self.dilation, x.shape[3])
        between = finish(self.first, functional.conv2d(padded, window_weight, window_bias, *options))
        pixels = between.permute(0, 2, 3, 1).reshape(-1, x.shape[3])
        return finish(self.epilogue, functional.linear(pixels, weight, bias), *residual)


def finish(epilogue: Epilogue, y: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
    """`epilogue` in PyTorch."""
    y = _ACTIVATIONS[epilogue.activation](y if residual is None else y + residual)
    return y if epilogue.minimum is None else torch.clamp(y, epilogue.minimum, epilogue.maximum)


def numbers(rng: np.random.Generator, *shape: int) -> Array:
    """Normally distributed."""
    return rng.standard_normal(shape).astype(np.float32)


def stored(target: Target, *arrays: Array) -> list[Array]:
    """`arrays` as they lie between kernels on `target`."""
    assert target.gpu is not None
    return [array.astype(target.gpu.numbers) for array in arrays]


def random_layers(
    cases: Mapping[str, Linear | Convolution | Separable], target: Target = GPU
) -> dict[str, Layer]:
    """The layer of each case, of the same numbers in every run."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    return {name: case.layer(rng, target) for name, case in cases.items()}
