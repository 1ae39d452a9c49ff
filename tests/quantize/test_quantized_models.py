"""A model that was quantized before lwc sees it: its own scales and zero points become layers on integers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc import quantized_models
from lwc.errors import UnsupportedError, VerificationError
from lwc.graph import calls, constant
from lwc.models.load import load_model
from lwc.models.request import LoadedModel, ModelRequest
from lwc.ops.view import named_arguments
from lwc.package.quantization import OWN_RANGES
from lwc.pipeline import Pipeline
from lwc.quantize.raise_quantization import is_quantized, raise_quantized
from lwc.quantized_models import lower_quantized
from lwc.quantizing import FLOAT_ONLY, Quantized, lower_to_integers
from lwc.rewriting import PassOptions, rewrite
from lwc.targets.resolve import resolve_target
from lwc.trace import Program, trace
from tests.programs import operators, program_of, random_inputs, randomize, run
from tests.quantize.pt2e import QUANTIZERS, quantized_after_training, save

ATEN: Any = torch.ops.aten
LWC: Any = torch.ops.lwc
PT2E: Any = torch.ops.quantized_decomposed
IMAGE = (1, 3, 12, 12)
X86, ARM = "x86-64-v3", "arm64"
LAYERS = ("aten.conv2d.default", "lwc.conv2d.default", "aten.linear.default", "lwc.linear.default")


class Residuals(nn.Module):
    """What MobileNets and ResNets have: batch norms, a depthwise convolution, a sum, pooling, a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.expand = nn.Sequential(nn.Conv2d(16, 24, 1), nn.BatchNorm2d(24), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.ReLU6())
        self.project = nn.Sequential(nn.Conv2d(24, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.join = nn.Sequential(nn.Conv2d(32, 20, 1), nn.ReLU())
        self.head = nn.Linear(20, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Ten logits an image."""
        x = functional.max_pool2d(self.stem(x), 3, 2, 1)
        y = functional.relu(x + self.project(self.depthwise(self.expand(x))))
        y = functional.adaptive_avg_pool2d(self.join(torch.cat([x, y], 1)), 1)
        return torch.as_tensor(self.head(y.flatten(1)))


def saved(path: Path, name: str, rng: torch.Generator, fold: bool = True) -> LoadedModel:
    """The net with random weights, quantized, written and read again."""
    net = Residuals()
    randomize(net, rng)
    samples = [random_inputs((IMAGE,), rng) for _ in range(8)]
    save(quantized_after_training(net, samples, name, fold), samples[0], path)
    return load_model(ModelRequest(str(path)), pytest.fail)


def traced(module: nn.Module, inputs: tuple[torch.Tensor, ...], target: str = X86) -> Program:
    names = tuple(f"x{number}" for number in range(len(inputs)))
    return raise_quantized(replace(trace(module, inputs, names), target=resolve_target(target)))


def rewritten(module: nn.Module, inputs: tuple[torch.Tensor, ...], target: str = X86) -> Program:
    """Each pass checked, as compiling does it."""
    options = PassOptions()
    passes = tuple(item for item in options.pipeline().passes if item.name != FLOAT_ONLY)
    return rewrite(options, Pipeline(passes), traced(module, inputs, target)).program


def lowered(module: nn.Module, inputs: tuple[torch.Tensor, ...], target: str = X86) -> Quantized:
    return lower_quantized(rewritten(module, inputs, target), module)


@pytest.mark.parametrize("target", [X86, ARM])
@pytest.mark.parametrize("name", QUANTIZERS)
def test_all_layers_of_a_quantized_file_are_on_integers(
    name: str, target: str, tmp_path: Path, rng: torch.Generator
) -> None:
    model = saved(tmp_path / "net.pt2", name, rng)
    before = traced(model.module, model.inputs, target)
    # Bit for bit: what PyTorch's nodes say, lwc's say.
    assert torch.equal(run(before, model.inputs)[0], model.module(*model.inputs))
    found = lowered(model.module, model.inputs, target)
    assert found.quantization.calibration == OWN_RANGES
    assert (found.quantization.integer_layers, found.quantization.float_layers) == (6, 0)
    (noise,) = found.quantization.signal_to_noise_db
    # None: the rounded results are the same.
    assert noise is None or noise > 25
    names = operators(found.integer)
    assert names.count("lwc.qmean.default") == 1
    assert not {*LAYERS, "aten.mean.dim"} & {*names}
    if name != "x86":
        # There the model rounds what it adds; elsewhere the convolution takes the sum.
        assert "aten.add.Tensor" not in names
        assert "lwc.rescale.default" in names
    kinds = {node.args[3] for node in calls(found.integer.module.graph, LWC.quantize.default)}
    assert kinds == {"uint8" if target == X86 else "int8"}


def test_weights_that_are_not_folded_give_the_same(tmp_path: Path, seed: int) -> None:
    models = [
        saved(tmp_path / f"{fold}.pt2", "xnnpack", torch.Generator().manual_seed(seed), fold)
        for fold in (True, False)
    ]
    first, second = (lowered(model.module, model.inputs).integer for model in models)
    assert operators(first) == operators(second)
    inputs = random_inputs((IMAGE,), torch.Generator().manual_seed(seed + 1))
    assert torch.equal(run(first, inputs)[0], run(second, inputs)[0])


def test_the_scales_are_those_of_the_file(tmp_path: Path, rng: torch.Generator) -> None:
    model = saved(tmp_path / "net.pt2", "xnnpack", rng)
    nodes: Any = model.module.graph.nodes  # type: ignore[union-attr]
    given = {float(node.args[1]) for node in nodes if node.target is PT2E.quantize_per_tensor.default}
    program = traced(model.module, model.inputs)
    kept = {1 / float(n.args[1]) for n in calls(program.module.graph, LWC.quantize.default)}  # type: ignore[arg-type]
    assert len(given) > 5
    assert sorted(kept) == pytest.approx(sorted(given), rel=1e-6)


SPOILED: dict[str, tuple[Any, str, float]] = {
    "a multiplier": (LWC.qconv2d.default, "multiplier", 1.1),
    "a bias": (LWC.qlinear.default, "bias", 1.2),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_wrong_integer_pass_is_found(
    what: str, tmp_path: Path, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, name, factor = SPOILED[what]

    def wrong(program: Program) -> Any:
        after, records = lower_to_integers(program)
        *_, layer = calls(after.module.graph, target)
        value = constant(after.module, named_arguments(layer)[name])
        assert value is not None
        value.copy_((value * factor).to(value.dtype))
        return after, records

    monkeypatch.setattr(quantized_models, "lower_to_integers", wrong)
    model = saved(tmp_path / "net.pt2", "x86", rng)
    with pytest.raises(VerificationError, match="differs from the quantized model by"):
        lowered(model.module, model.inputs)


# Nodes as they come from elsewhere.


def rounded(
    x: torch.Tensor,
    scale: float,
    zero_point: int,
    lowest: int = -128,
    highest: int = 127,
    dtype: torch.dtype = torch.int8,
) -> torch.Tensor:
    operands = (scale, zero_point, lowest, highest, dtype)
    return torch.as_tensor(PT2E.dequantize_per_tensor(PT2E.quantize_per_tensor(x, *operands), *operands))


RANGES = [
    (-127, 127, 5, torch.int8),
    (0, 127, 40, torch.uint8),
    (-8, 7, 1, torch.int8),
    (0, 255, 0, torch.uint8),
]


@pytest.mark.parametrize("target", [X86, ARM])
@pytest.mark.parametrize("limits", RANGES, ids=str)
def test_a_range_is_kept(
    limits: tuple[int, int, int, torch.dtype], target: str, rng: torch.Generator
) -> None:
    lowest, highest, zero_point, dtype = limits
    scale = 4 / (highest - lowest)
    conv = nn.Conv2d(3, 5, 3)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            how = (scale, zero_point, lowest, highest, dtype)
            return rounded(functional.relu6(self.conv(rounded(x, *how))), *how)

    # Far beyond the range, too.
    x = 3 * torch.randn(IMAGE, generator=rng)
    want = Net()(x)
    assert torch.equal(run(traced(Net(), (x,), target), (x,))[0], want)
    found = lower_quantized(rewritten(Net(), (x,), target), Net())
    # Its weight is in float32.
    assert found.quantization.integer_layers == 0
    assert int(want.unique().numel()) <= highest - lowest + 1


def test_weights_alone_are_stored_as_float32(rng: torch.Generator) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.randint(-127, 128, (10, 6), generator=rng).to(torch.int8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = PT2E.dequantize_per_tensor(self.weight, 0.01, 0, -127, 127, torch.int8)
            return functional.linear(x, weight)

    x, net = torch.randn(3, 6, generator=rng), Net()
    found = lowered(net, (x,))
    assert (found.quantization.integer_layers, found.quantization.float_layers) == (0, 1)
    assert operators(found.integer) == ["lwc.linear.default"]
    assert torch.allclose(run(found.integer, (x,))[0], net(x), atol=1e-5)


def _measured(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale, zero_point = PT2E.choose_qparams.tensor(x, 0, 255, 1e-5, torch.uint8)
    return scale, zero_point


def _by_channel() -> tuple[Any, ...]:
    return torch.full((3,), 0.1), torch.zeros(3, dtype=torch.int64), 1, -128, 127, torch.int8


REFUSED: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "16 bits": (
        lambda x: rounded(x, 0.1, 0, -32768, 32767, torch.int16),
        "is of int16; quantize to int8 or uint8",
    ),
    "ranges found in each run": (
        lambda x: PT2E.dequantize_per_tensor.tensor(
            PT2E.quantize_per_tensor.tensor(x, *(how := _measured(x)), 0, 255, torch.uint8),
            *how,
            0,
            255,
            torch.uint8,
        ),
        "dynamic quantization",
    ),
    "activations by channel": (
        lambda x: PT2E.dequantize_per_channel(PT2E.quantize_per_channel(x, *_by_channel()), *_by_channel()),
        "quantizes an activation by channel",
    ),
    "arithmetic on integers": (
        lambda x: PT2E.dequantize_per_tensor(
            PT2E.quantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8) + 1, 0.1, 0, -128, 127, torch.int8
        ),
        "computes on 8-bit numbers themselves",
    ),
    "a zero point outside of its range": (lambda x: rounded(x, 0.1, 9, 0, 7), "has zero point 9 in 0 to 7"),
    "no scale": (lambda x: rounded(x, 0.0, 0), "has the scale 0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_8_bits_cannot_say_is_refused(what: str, rng: torch.Generator) -> None:
    function, says = REFUSED[what]
    program = program_of(function, IMAGE, rng=rng)
    with pytest.raises(UnsupportedError, match=says) as caught:
        raise_quantized(program)
    assert "\n" not in str(caught.value)


def test_a_float_program_is_left_as_it_is(rng: torch.Generator) -> None:
    program = program_of(nn.Conv2d(3, 4, 3), IMAGE, rng=rng)
    assert raise_quantized(program) is program
    assert not is_quantized(program)
