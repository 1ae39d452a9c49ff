"""Layers on integers as tests draw them: shapes that no vector or tile divides, limits of types, any epilogue."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import nn

from lwc.ops import dequantize, qconv2d, qlinear, qmean, quantize, rescale
from lwc.ops.activation import ACTIVATIONS
from lwc.ops.conv2d import output_size
from lwc.ops.quantize import DTYPES
from lwc.ops.requantize import residual_multiplier, single
from tests.programs import Shape

CHANNELS = (1, 3, 5, 8, 17, 24, 65)
SIZES = (1, 7, 13, 15)
ROWS = (1, 2, 7, 31, 50, 197)
# Stride and dilation.
STEPS = ((1, 1), (2, 1), (1, 2), (2, 2))
DENSE = ((3, 3), (3, 3), (1, 1), (2, 3), (5, 1))
DEPTHWISE = ((3, 3), (3, 3), (5, 5), (2, 4), (7, 7))
RESIDUALS = ("none", "none", "bytes", "float32")
NEVER_NEGATIVE = ("sigmoid", "hardsigmoid")
BOUNDED = (*NEVER_NEGATIVE, "tanh")
LAYERS = 14  # in a library


class Draw:
    """Random choices."""

    def __init__(self, rng: torch.Generator) -> None:
        self.rng = rng

    def number(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.rng))

    def real(self, low: float, high: float) -> float:
        """From `low` to `high`, as a float32."""
        return single(low + (high - low) * float(torch.rand((), generator=self.rng)))

    def one(self, values: Sequence[Any]) -> Any:
        """Any of `values`."""
        return values[self.number(0, len(values) - 1)]

    def column(self, values: Sequence[Any]) -> list[Any]:
        """One of `values` for each layer, each as often as the others, in any order."""
        order = torch.randperm(LAYERS, generator=self.rng).tolist()
        return [values[i % len(values)] for i in order]

    def zero_point(self, dtype: str) -> int:
        """Any of `dtype`, often a limit."""
        limits = torch.iinfo(DTYPES[dtype])
        return int(self.one((limits.min, limits.max, self.number(limits.min, limits.max))))

    def integers(self, low: int, high: int, shape: Shape) -> torch.Tensor:
        """A tensor of numbers from `low` to `high`, both included."""
        return torch.randint(low, high + 1, shape, generator=self.rng)


@dataclass(frozen=True)
class Place:
    """What a layer is like, beside what is drawn for it alone."""

    dtype: str
    batch: int
    channels: int
    outputs: int
    height: int
    width: int
    rows: int
    step: tuple[int, int]
    residual: str
    activation: str
    is_float: bool

    @property
    def image(self) -> Shape:
        """An image of this size, NHWC."""
        return (self.batch, self.height, self.width, self.channels)


def places(dtype: str, draw: Draw) -> list[Place]:
    """As many as there are layers: every value of an extent is there, in another company each time."""
    columns = (
        [dtype] * LAYERS,
        draw.column((1, 1, 2)),
        *(draw.column(values) for values in (CHANNELS, CHANNELS, SIZES, SIZES, ROWS, STEPS, RESIDUALS)),
        draw.column(("identity", "identity", *(name for name in ACTIVATIONS if name != "identity"))),
        draw.column((False, False, True)),
    )
    return [Place(*row) for row in zip(*columns, strict=True)]


class Layer(nn.Module):
    """dequantize(call(quantize(x), weight, bias, multiplier, residual)): `read` are the shapes of its inputs."""

    def __init__(
        self,
        place: Place,
        draw: Draw,
        shape: Shape,
        result: Shape,
        weight: Shape,
        geometry: tuple[Any, ...] = (),
    ) -> None:
        super().__init__()
        self.place, self.geometry = place, geometry
        self.read = [shape] if place.residual == "none" else [shape, result]
        # Randn times this fills a byte.
        self.inverse_scale = draw.real(40, 120)
        self.zero_point, self.residual_zero_point = (draw.zero_point(place.dtype) for _ in range(2))
        self.register_buffer("weight", draw.integers(-128, 127, weight).to(torch.int8))
        outputs, terms = weight[0], math.prod(weight[1:])
        spread = 74 * 100 * math.sqrt(terms)
        # Sums near the limits of 32 bits, too, of which float32 does not hold every bit.
        largest = int(draw.one((spread, spread, 2**31 - 1 - 255 * 128 * terms)))
        self.register_buffer("bias", draw.integers(-largest, largest, (outputs,)).int())
        wanted = 60.0 if place.activation == "identity" else 2.0
        factors = 0.3 + torch.rand(outputs, generator=draw.rng)
        self.register_buffer("multiplier", factors * (wanted / max(spread, largest)))
        self.register_buffer("scale", torch.tensor(draw.real(0.01, 3)))
        self.end = self._end(place, draw, wanted)

    def _end(self, place: Place, draw: Draw, wanted: float) -> tuple[Any, ...]:
        """The operands from `residual_multiplier` on."""
        inverse = draw.one((1.0, draw.real(0.5, 2)))
        if place.activation != "identity":
            inverse = draw.real(100, 200) if place.activation in BOUNDED else draw.real(20, 50)
        factor = residual_multiplier(draw.real(0.2, 1) * wanted / 60)
        beginning = (factor, self.residual_zero_point, place.activation, inverse)
        if place.is_float:
            return (*beginning, draw.one((None, -1.0)), draw.one((None, draw.real(5, 50))), None)
        zero_point, limits = draw.zero_point(place.dtype), torch.iinfo(DTYPES[place.dtype])
        if place.activation in NEVER_NEGATIVE:
            # With a zero point near the highest number all results would be that.
            zero_point = draw.one((limits.min, draw.number(limits.min, limits.max - 130)))
        low, high = float(limits.min - zero_point), float(limits.max - zero_point)
        cut = draw.number(1, 60)
        return (*beginning, *draw.one(((low, high), (low, high - cut), (low + cut, high - cut))), zero_point)

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """In and out in float32, as the package's border is."""
        dtype, zero_point = self.place.dtype, self.end[-1]
        bytes_in = quantize(x, self.inverse_scale, self.zero_point, dtype)
        if self.place.residual == "bytes":
            residual = quantize(residual, 100.0, self.residual_zero_point, dtype)
        constants = (self.weight, self.bias, self.multiplier)
        y = self.call(bytes_in, *constants, *self.geometry, self.zero_point, residual, *self.end)
        result: torch.Tensor = y if zero_point is None else dequantize(y, self.scale, zero_point)
        return result

    def call(self, *operands: Any) -> Any:
        """The operator."""
        return qconv2d(*operands)


class Linear(Layer):
    """A linear layer."""

    def call(self, *operands: Any) -> Any:
        """The operator."""
        return qlinear(*operands)


class Rescale(Layer):
    """No weights: another scale, a sum or an activation, element by element."""

    def __init__(self, place: Place, draw: Draw) -> None:
        super().__init__(place, draw, place.image, place.image, (1, 1))
        wanted = 60.0 if place.activation == "identity" else 2.0
        self.multiplier = torch.tensor([draw.real(0.3, 1.3) * wanted / 74])

    def call(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *operands: Any) -> Any:
        """The operator."""
        return rescale(x, *operands)


class Mean(nn.Module):
    """A mean over some axes, in bytes or in float32."""

    def __init__(self, place: Place, draw: Draw) -> None:
        super().__init__()
        self.place, self.read = place, [place.image]
        self.axes = draw.one(([1, 2], [1, 2], [1], [2], [2, 3], [3]))
        self.inverse_scale, self.keepdim = draw.real(40, 120), draw.one((True, False))
        count = math.prod(place.image[axis] for axis in self.axes)
        self.register_buffer("multiplier", torch.tensor([draw.real(0.5, 2) / math.sqrt(count)]))
        self.register_buffer("scale", torch.tensor(draw.real(0.01, 3)))
        self.zero_point, limits = draw.zero_point(place.dtype), torch.iinfo(DTYPES[place.dtype])
        # With inputs on one side of zero only and results on the other, all results would be one number.
        zero_point = draw.one((self.zero_point, draw.number(limits.min + 60, limits.max - 60)))
        bounds = (float(limits.min - zero_point), float(limits.max - zero_point), zero_point)
        self.end = (draw.one((None, -3.0)), None, None) if place.is_float else bounds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """In and out in float32."""
        bytes_in = quantize(x, self.inverse_scale, self.zero_point, self.place.dtype)
        y = qmean(bytes_in, self.multiplier, self.axes, self.keepdim, self.zero_point, *self.end)
        result: torch.Tensor = y if self.place.is_float else dequantize(y, self.scale, self.end[-1])
        return result


class Ends(nn.Module):
    """Quantization and back: the inputs are of every size, and saturate."""

    scale: torch.Tensor
    size: torch.Tensor

    def __init__(self, place: Place, draw: Draw) -> None:
        super().__init__()
        self.read = [place.image]
        self.exponent = draw.number(-26, 13)
        self.operands = (draw.real(40, 400) * 2.0**self.exponent, draw.zero_point(place.dtype), place.dtype)
        self.register_buffer("scale", torch.tensor(1 / self.operands[0]))
        self.register_buffer("size", torch.tensor(2.0**-self.exponent))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """In and out in float32."""
        y: torch.Tensor = dequantize(quantize(x * self.size, *self.operands), self.scale, self.operands[1])
        return y


# The kinds of layers.

Case = Layer | Mean | Ends


def pointwise(place: Place, draw: Draw) -> Layer:
    """A matrix product over pixels."""
    weight = (place.outputs, place.channels, 1, 1)
    result = (*place.image[:3], place.outputs)
    return Layer(place, draw, place.image, result, weight, ([1, 1], [0] * 4, [1, 1], 1))


def linear(place: Place, draw: Draw) -> Layer:
    """A matrix product over rows, which may be several axes."""
    leading = draw.one(((place.rows,), (place.batch, place.rows), (place.batch, 1, place.rows)))
    weight = (place.outputs, place.channels)
    return Linear(place, draw, (*leading, place.channels), (*leading, place.outputs), weight)


def windowed(
    place: Place, draw: Draw, kernel: tuple[int, int], weight: tuple[int, int], groups: int
) -> Layer:
    """A window that reaches over the borders, by any number of pixels; no input is too small for it."""
    stride, dilation = place.step
    padding = []
    for extent in kernel:
        reach = dilation * (extent - 1)
        before = draw.number(0, reach)
        padding += [before, draw.number(reach - before, reach)]
    geometry = ([stride, stride], padding, [dilation, dilation])
    size = output_size(place.height, place.width, kernel, *geometry)
    result = (place.batch, *size, weight[0])
    return Layer(place, draw, place.image, result, (*weight, *kernel), (*geometry, groups))


def dense(place: Place, draw: Draw) -> Layer:
    """All channels together; a window of one pixel has a stride."""
    kernel = draw.one(DENSE)
    return windowed(place, draw, kernel, (place.outputs, place.channels), 1)


def depthwise(place: Place, draw: Draw) -> Layer:
    """Each channel by itself; of half of them whole vectors of bytes, which are interleaved where nothing is added."""
    if draw.one((True, False)):
        plain = replace(whole_vectors(place, draw), activation="identity")
        place = draw.one((replace(place, channels=plain.channels), plain, plain))
    return windowed(place, draw, draw.one(DEPTHWISE), (place.channels, 1), place.channels)


def whole_vectors(place: Place, draw: Draw) -> Place:
    """The place with channels in whole vectors of bytes, of results in bytes to which nothing is added."""
    return replace(place, residual="none", is_float=False, channels=draw.one((16, 32, 64, 96, 128)))


KINDS: dict[str, Callable[[Place, Draw], Case]] = {
    "pointwise": pointwise,
    "linear": linear,
    "dense": dense,
    "depthwise": depthwise,
    "rescale": Rescale,
    "mean": Mean,
    "ends": Ends,
}


class All(nn.Module):
    """The layers side by side: what each reads in one row of inputs, what each gives in one row of outputs."""

    def __init__(self, layers: Sequence[Case]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.read = [len(layer.read) for layer in layers]

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One output a layer."""
        values = iter(inputs)
        return tuple(
            layer(*islice(values, count)) for layer, count in zip(self.layers, self.read, strict=True)
        )
