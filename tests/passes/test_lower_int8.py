"""lower-int8: layers between dequantization and quantization compute on integers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from lwc.graph import calls, constant
from lwc.ops import QuantizedConvView, QuantizedLinearView, QuantizedMeanView
from lwc.ops.requantize import single
from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import Program, trace
from tests.programs import Shape, operators, random_inputs, rms, run

IMAGE = (2, 7, 6, 8)
TOKENS = (4, 50, 8)
STEPS, INVERSE_STEPS = torch.linspace(0.0015, 0.0025, 8), 1 / torch.linspace(0.0015, 0.0025, 8)
# Of three numbers: with these scales, means of two lie in the very middle of two steps too often.
COLUMNS = (64, 3, 1, 8)
QUANTIZE, DEQUANTIZE = "lwc.quantize.default", "lwc.dequantize.default"
QCONV, QLINEAR, QMEAN = "lwc.qconv2d.default", "lwc.qlinear.default", "lwc.qmean.default"
PERMUTE = "aten.permute.default"

LWC: Any = torch.ops.lwc
# Of an input and of a result, both of about unit variance.
INPUT, OUTPUT = 0.031, 0.037


class Rounded(nn.Module):
    """`function(self, *inputs)`, which finds a rounded weight, a bias, and quantization here."""

    def __init__(
        self, function: Callable[..., Any], weight: Shape, rng: torch.Generator, dtype: str = "uint8"
    ) -> None:
        super().__init__()
        self.function, self.dtype = function, dtype
        fan_in = torch.Size(weight[1:]).numel()
        for name in ("first", "second"):
            integers = torch.randint(-127, 128, weight, generator=rng, dtype=torch.int8)
            scales = (0.5 + torch.rand(weight[0], generator=rng)) / (73 * fan_in**0.5)
            self.register_buffer(f"{name}_integers", integers)
            self.register_buffer(f"{name}_scales", scales)
            self.register_buffer(f"{name}_bias", torch.randn(weight[0], generator=rng) / 4)
        self.register_buffer("input_scale", torch.tensor(INPUT))
        self.register_buffer("output_scale", torch.tensor(OUTPUT))

    def forward(self, *inputs: torch.Tensor) -> Any:
        """The function's value."""
        return self.function(self, *inputs)

    def weight(self, name: str = "first") -> torch.Tensor:
        """Rounded, as real numbers."""
        integers, scales = self.get_buffer(f"{name}_integers"), self.get_buffer(f"{name}_scales")
        return torch.as_tensor(LWC.dequantize_weight(integers, scales))

    def rounded(self, x: torch.Tensor, what: str = "input", zero_point: int = 120) -> torch.Tensor:
        """x to integers and back; `zero_point` counts from the type's least number."""
        scale = self.get_buffer(f"{what}_scale")
        zero_point += -128 if self.dtype == "int8" else 0
        inverse = single(1 / {"input": single(INPUT), "output": single(OUTPUT)}[what])
        return torch.as_tensor(
            LWC.dequantize(LWC.quantize(x, inverse, zero_point, self.dtype), scale, zero_point)
        )

    def conv2d(self, x: torch.Tensor, name: str = "first", **how: Any) -> torch.Tensor:
        """A convolution with weight and bias called `name`."""
        options: dict[str, Any] = {
            "residual": None,
            "stride": [1, 1],
            "padding": [0] * 4,
            "dilation": [1, 1],
            "groups": 1,
            "activation": "identity",
            "minimum": None,
            "maximum": None,
            "input_layout": "NHWC",
            "output_layout": "NHWC",
        }
        bias = self.get_buffer(f"{name}_bias")
        return torch.as_tensor(LWC.conv2d(x, self.weight(name), bias, *(options | how).values()))

    def linear(self, x: torch.Tensor, name: str = "first", **how: Any) -> torch.Tensor:
        """A linear layer with weight and bias called `name`."""
        options = {"residual": None, "activation": "identity", "minimum": None, "maximum": None} | how
        bias = self.get_buffer(f"{name}_bias")
        return torch.as_tensor(LWC.linear(x, self.weight(name), bias, *options.values()))


@dataclass(frozen=True)
class Case:
    """A function of a Rounded and inputs, and the operators that it has after the pass."""

    function: Callable[..., Any]
    after: tuple[str, ...]
    weight: Shape = (8, 8, 1, 1)
    shapes: tuple[Shape, ...] = (IMAGE,)
    # The result as it leaves: in units of its integers, or float32.
    is_integer: bool = True


def lower(module: nn.Module, shapes: tuple[Shape, ...], rng: torch.Generator) -> tuple[Program, Program, int]:
    """The program before and after the pass, and how many layers it lowered."""
    names = tuple(f"x{number}" for number in range(len(shapes)))
    before = trace(module.eval(), random_inputs(shapes, rng), names)
    after, (record,) = run_pipeline(Pipeline.parse("lower-int8"), before)
    return before, after, record.count


def assert_steps_apart(want: torch.Tensor, got: torch.Tensor) -> None:
    """Integers, times OUTPUT: none differs by more than a step, and few do; they are many different ones."""
    integers, others = ((x / single(OUTPUT)).round() for x in (want, got))
    assert len(set(integers.flatten().tolist())) > 12
    steps = (integers - others).abs()
    assert steps.max() <= 1
    assert (steps > 0).float().mean() <= 0.02


def assert_close(want: torch.Tensor, got: torch.Tensor) -> None:
    """Real numbers: biases are rounded to a small part of a step of the weights."""
    assert got.dtype == torch.float32
    assert rms(want) > 0.1
    assert rms(got - want) <= 2e-3 * rms(want)


def view_of(program: Program) -> Any:
    """The operands of the program's one integer layer."""
    graph = program.module.graph
    found: list[Any] = [QuantizedConvView.of(node) for node in calls(graph, LWC.qconv2d.default)]
    found += [QuantizedLinearView.of(node) for node in calls(graph, LWC.qlinear.default)]
    found += [QuantizedMeanView.of(node) for node in calls(graph, LWC.qmean.default)]
    (view,) = found
    return view


def padded(net: Rounded, x: torch.Tensor, **how: Any) -> torch.Tensor:
    """An uneven 3 x 3 convolution, from integers to integers."""
    return net.rounded(net.conv2d(net.rounded(x), padding=[1, 0, 2, 1], stride=[2, 1], **how), "output")


def channels_first(net: Rounded, x: torch.Tensor, **how: Any) -> torch.Tensor:
    layouts = {"input_layout": "NCHW", "output_layout": "NCHW"}
    return net.rounded(net.conv2d(net.rounded(x), **layouts, **how), "output")


def pointwise(net: Rounded, x: torch.Tensor, **how: Any) -> torch.Tensor:
    return net.rounded(net.conv2d(net.rounded(x), **how), "output")


def by_channel(x: torch.Tensor) -> torch.Tensor:
    """x (..., 8) in steps of its own for each channel."""
    return torch.as_tensor(LWC.dequantize_channels(LWC.quantize_channels(x, INVERSE_STEPS, "uint8"), STEPS))


def linear(net: Rounded, x: torch.Tensor, **how: Any) -> torch.Tensor:
    return net.rounded(net.linear(net.rounded(x), **how), "output")


def mean(net: Rounded, x: torch.Tensor, keepdim: bool = False) -> torch.Tensor:
    return net.rounded(net.rounded(x).mean((1, 2), keepdim), "output")


CASES = {
    "a pointwise convolution": Case(pointwise, (QUANTIZE, QCONV, DEQUANTIZE)),
    "a dense convolution": Case(padded, (QUANTIZE, QCONV, DEQUANTIZE), (8, 8, 3, 3)),
    "a depthwise convolution": Case(
        lambda net, x: padded(net, x, groups=8), (QUANTIZE, QCONV, DEQUANTIZE), (8, 1, 3, 3)
    ),
    "a dilated convolution": Case(
        lambda net, x: pointwise(net, x, dilation=[2, 2]), (QUANTIZE, QCONV, DEQUANTIZE), (8, 8, 3, 3)
    ),
    "an image in NCHW": Case(
        channels_first, (QUANTIZE, PERMUTE, QCONV, PERMUTE, DEQUANTIZE), shapes=((2, 8, 7, 6),)
    ),
    "a linear layer": Case(linear, (QUANTIZE, QLINEAR, DEQUANTIZE), (8, 8), (TOKENS,)),
    "a mean": Case(mean, (QUANTIZE, QMEAN, DEQUANTIZE), shapes=(COLUMNS,)),
    "a mean that keeps its axes": Case(
        lambda net, x: mean(net, x, keepdim=True), (QUANTIZE, QMEAN, DEQUANTIZE), shapes=(COLUMNS,)
    ),
    "hardswish": Case(
        lambda net, x: pointwise(net, x, activation="hardswish"), (QUANTIZE, QCONV, DEQUANTIZE)
    ),
    "silu": Case(
        lambda net, x: linear(net, x, activation="silu"), (QUANTIZE, QLINEAR, DEQUANTIZE), (8, 8), (TOKENS,)
    ),
    "a residual in integers": Case(
        lambda net, x: pointwise(net, x, residual=net.rounded(x)),
        (QUANTIZE, QUANTIZE, QCONV, DEQUANTIZE),
    ),
    "a residual in float32": Case(
        lambda net, x: pointwise(net, x, residual=x), (QUANTIZE, QCONV, DEQUANTIZE)
    ),
    "a residual in integers before silu": Case(
        lambda net, x: pointwise(net, x, residual=net.rounded(x), activation="silu"),
        (QUANTIZE, QUANTIZE, QCONV, DEQUANTIZE),
    ),
    "a residual in NCHW": Case(
        lambda net, x: channels_first(net, x, residual=x),
        (QUANTIZE, PERMUTE, PERMUTE, QCONV, PERMUTE, DEQUANTIZE),
        shapes=((2, 8, 7, 6),),
    ),
    "a residual of a linear layer": Case(
        lambda net, x: linear(net, x, residual=net.rounded(x)),
        (QUANTIZE, QUANTIZE, QLINEAR, DEQUANTIZE),
        (8, 8),
        (TOKENS,),
    ),
    "a clamp before scales by channel": Case(
        lambda net, x: by_channel(net.linear(net.rounded(x), minimum=0.0)),
        (QUANTIZE, QLINEAR, "lwc.quantize_channels.default", "lwc.dequantize_channels.default"),
        (8, 8),
        (TOKENS,),
        is_integer=False,
    ),
    "one float reader": Case(lambda net, x: net.conv2d(net.rounded(x)), (QUANTIZE, QCONV), is_integer=False),
    "a float reader after silu": Case(
        lambda net, x: net.linear(net.rounded(x), activation="silu"),
        (QUANTIZE, QLINEAR),
        (8, 8),
        (TOKENS,),
        is_integer=False,
    ),
    "a float reader of a clamp": Case(
        lambda net, x: net.conv2d(net.rounded(x), minimum=0.0, maximum=1.0),
        (QUANTIZE, QCONV),
        is_integer=False,
    ),
    "a float reader with a residual in integers": Case(
        lambda net, x: net.conv2d(net.rounded(x), residual=net.rounded(x, zero_point=100)),
        (QUANTIZE, QUANTIZE, QCONV),
        is_integer=False,
    ),
    "a float reader of a mean": Case(
        lambda net, x: net.rounded(x).mean((1, 2)), (QUANTIZE, QMEAN), is_integer=False
    ),
}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("name", CASES)
def test_lowers(name: str, dtype: str, rng: torch.Generator) -> None:
    case = CASES[name]
    before, after, count = lower(Rounded(case.function, case.weight, rng, dtype), case.shapes, rng)
    assert count == 1
    assert sorted(operators(after)) == sorted(case.after)
    inputs = random_inputs(case.shapes, rng)
    (want,), (got,) = run(before, inputs), run(after, inputs)
    assert got.shape == want.shape
    assert_steps_apart(want, got) if case.is_integer else assert_close(want, got)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_clamp_becomes_the_bounds_of_the_integers(dtype: str, rng: torch.Generator) -> None:
    def function(net: Rounded, x: torch.Tensor) -> torch.Tensor:
        y = net.conv2d(net.rounded(x), minimum=0.0, maximum=1.0)
        return net.rounded(y, "output", zero_point=20)

    before, after, count = lower(Rounded(function, (8, 8, 1, 1), rng, dtype), (IMAGE,), rng)
    assert count == 1
    view = view_of(after)
    assert (view.minimum, view.maximum) == (0, round(1 / OUTPUT))
    assert view.zero_point == 20 + torch.iinfo(getattr(torch, dtype)).min
    inputs = random_inputs((IMAGE,), rng)
    (want,), (got,) = run(before, inputs), run(after, inputs)
    assert got.min() == 0
    assert got.max() == want.max()
    assert_steps_apart(want, got)


@pytest.mark.parametrize(("zero_point", "bounds"), [(0, (0, 255)), (255, (-255, 0)), (128, (-128, 127))])
def test_without_a_clamp_the_type_is_the_bound(
    zero_point: int, bounds: tuple[int, int], rng: torch.Generator
) -> None:
    def function(net: Rounded, x: torch.Tensor) -> torch.Tensor:
        return net.rounded(net.linear(net.rounded(x)) * 1.0, "output") + net.rounded(
            net.linear(net.rounded(x), "second"), "output", zero_point
        )

    _, after, count = lower(Rounded(function, (8, 8), rng), (TOKENS,), rng)
    assert count == 2
    views = [QuantizedLinearView.of(node) for node in calls(after.module.graph, LWC.qlinear.default)]
    # The first is multiplied by a number in float32.
    assert [(view.minimum, view.maximum, view.zero_point) for view in views] == [
        (None, None, None),
        (*bounds, zero_point),
    ]


def test_a_clamp_outside_of_the_type_leaves_one_number(rng: torch.Generator) -> None:
    def function(net: Rounded, x: torch.Tensor) -> torch.Tensor:
        y = net.conv2d(net.rounded(x), minimum=50.0, maximum=60.0)
        return net.rounded(y, "output", zero_point=20)

    before, after, _ = lower(Rounded(function, (8, 8, 1, 1), rng), (IMAGE,), rng)
    inputs = random_inputs((IMAGE,), rng)
    (want,), (got,) = run(before, inputs), run(after, inputs)
    assert torch.equal(got, want)
    assert got.min() == got.max() == pytest.approx(235 * OUTPUT)


def test_an_activation_is_computed_in_real_numbers(rng: torch.Generator) -> None:
    def multiplier(activation: str) -> tuple[torch.Tensor, float]:
        seeded = torch.Generator().manual_seed(7)
        case = Rounded(lambda net, x: pointwise(net, x, activation=activation), (8, 8, 1, 1), seeded)
        _, after, _ = lower(case, (IMAGE,), rng)
        view = view_of(after)
        assert view.activation == activation
        value = constant(after.module, view.multiplier)
        assert value is not None
        return value, view.inverse_scale

    # The multiplier makes a real number of the sum, and what it becomes is divided by the scale.
    real, inverse = multiplier("silu")
    assert inverse == pytest.approx(1 / OUTPUT)
    scaled, one = multiplier("identity")
    assert one == 1
    torch.testing.assert_close(real / OUTPUT, scaled)


def test_readers_that_quantize_alike_read_the_same_integers(rng: torch.Generator) -> None:
    def function(net: Rounded, x: torch.Tensor) -> torch.Tensor:
        y = net.linear(net.rounded(x))
        return net.rounded(y, "output") + net.rounded(y, "output").tanh()

    before, after, count = lower(Rounded(function, (8, 8), rng), (TOKENS,), rng)
    assert count == 1
    assert operators(after).count(QUANTIZE) == 1
    inputs = random_inputs((TOKENS,), rng)
    (want,), (got,) = run(before, inputs), run(after, inputs)
    assert rms(got - want) <= 0.01 * rms(want)


READERS: dict[str, Callable[..., Any]] = {
    "other zero points": lambda net, y: (net.rounded(y, "output"), net.rounded(y, "output", 100)),
    "other scales": lambda net, y: (net.rounded(y, "output"), net.rounded(y, "input")),
    "one in float32": lambda net, y: (net.rounded(y, "output"), y),
}


@pytest.mark.parametrize("name", READERS)
def test_readers_that_need_different_numbers_get_float32(name: str, rng: torch.Generator) -> None:
    def function(net: Rounded, x: torch.Tensor) -> Any:
        return READERS[name](net, net.linear(net.rounded(x)))

    before, after, count = lower(Rounded(function, (8, 8), rng), (TOKENS,), rng)
    assert count == 1
    view = view_of(after)
    assert (view.zero_point, view.minimum, view.maximum) == (None, None, None)
    # Each quantizes for itself, as before.
    assert operators(after).count(QUANTIZE) == operators(before).count(QUANTIZE)
    inputs = random_inputs((TOKENS,), rng)
    want, got = run(before, inputs), run(after, inputs)
    assert_steps_apart(want[0], got[0])
    if name == "one in float32":
        assert_close(want[1], got[1])


def test_a_chain_stays_in_integers(rng: torch.Generator) -> None:
    def function(net: Rounded, x: torch.Tensor) -> torch.Tensor:
        y = net.rounded(net.conv2d(net.rounded(x)), "input")
        return net.rounded(net.conv2d(y, "second").mean((1, 2)), "output")

    before, after, count = lower(Rounded(function, (8, 8, 1, 1), rng), (IMAGE,), rng)
    # The mean reads float32.
    assert count == 2
    assert operators(after) == [QUANTIZE, QCONV, QCONV, "aten.mean.dim", QUANTIZE, DEQUANTIZE]
    assert operators(before).count(DEQUANTIZE) == 3
    dtypes = [node.meta["val"].dtype for node in calls(after.module.graph, LWC.qconv2d.default)]
    assert dtypes == [torch.uint8, torch.float32]


def test_a_weight_is_not_touched_where_its_bias_fits(rng: torch.Generator) -> None:
    module = Rounded(pointwise, (8, 8, 1, 1), rng)
    _, after, _ = lower(module, (IMAGE,), rng)
    view = view_of(after)
    weight, bias = (constant(after.module, node) for node in (view.weight, view.bias))
    assert weight is not None
    assert bias is not None
    assert (weight.dtype, bias.dtype) == (torch.int8, torch.int32)
    assert torch.equal(weight, module.get_buffer("first_integers"))
    products = module.get_buffer("first_scales") * INPUT
    real = module.get_buffer("first_bias")
    assert ((bias * products - real).abs() <= 0.51 * products + 1e-6).all()


@pytest.mark.parametrize("shrunk", [1e-8, 1e-12, 1e-30])
def test_a_bias_too_large_for_its_channel_makes_the_scale_coarser(
    shrunk: float, rng: torch.Generator
) -> None:
    module = Rounded(pointwise, (8, 8, 1, 1), rng)
    scales, bias = module.get_buffer("first_scales"), module.get_buffer("first_bias")
    scales[2] *= shrunk
    bias[2] = 1.5
    before, after, _ = lower(module, (IMAGE,), rng)
    view = view_of(after)
    integers = constant(after.module, view.bias)
    assert integers is not None
    assert abs(int(integers[2])) <= 2**28 + 1
    inputs = random_inputs((IMAGE,), rng)
    (want,), (got,) = run(before, inputs), run(after, inputs)
    assert_steps_apart(want, got)
    # As in float32: nothing is seen of weights so small beside the bias.
    assert torch.equal(got[..., 2], want[..., 2])


def test_a_layer_without_a_bias_gets_zeros(rng: torch.Generator) -> None:
    def function(net: Rounded, x: torch.Tensor) -> torch.Tensor:
        y = LWC.linear(net.rounded(x), net.weight(), None, None, "identity", None, None)
        return net.rounded(y, "output")

    before, after, count = lower(Rounded(function, (8, 8), rng), (TOKENS,), rng)
    assert count == 1
    bias = constant(after.module, view_of(after).bias)
    assert bias is not None
    assert bias.tolist() == [0] * 8
    inputs = random_inputs((TOKENS,), rng)
    assert_steps_apart(run(before, inputs)[0], run(after, inputs)[0])


LEFT: dict[str, Callable[..., Any]] = {
    "an input in float32": lambda net, x: net.rounded(net.linear(x), "output"),
    "a weight in float32": lambda net, x: net.rounded(
        LWC.linear(net.rounded(x), net.first_scales.expand(8, 8) + 0.1, None, None, "identity", None, None),
        "output",
    ),
    "no layer": lambda net, x: net.rounded(net.rounded(x).exp(), "output"),
}


@pytest.mark.parametrize("name", LEFT)
def test_leaves(name: str, rng: torch.Generator) -> None:
    before, after, count = lower(Rounded(LEFT[name], (8, 8), rng), (TOKENS,), rng)
    assert count == 0
    assert operators(after) == operators(before)
