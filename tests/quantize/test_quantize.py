"""From a float program to one on integers: what is quantized, with which numbers, and how near it stays."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from lwc.errors import VerificationError
from lwc.graph import calls, constant
from lwc.ops import DequantizeView, QuantizeView
from lwc.ops.view import named_arguments
from lwc.pipeline import Pipeline, run_pipeline
from lwc.quantize.correct_bias import correct_biases
from lwc.quantize.data import CalibrationData
from lwc.quantize.noise import signal_to_noise_db
from lwc.quantize.quantize import quantize
from lwc.quantize.raise_quantization import raise_quantization
from lwc.quantizing import to_integers
from lwc.targets.resolve import resolve_target
from lwc.trace import Program
from tests.programs import operators, program_of, rms, run
from tests.quantize.nets import (
    IMAGE,
    NETS,
    TOKENS,
    X86,
    Convolutions,
    Samples,
    Tokens,
    integers,
    rewritten,
    samples_of,
)

LWC: Any = torch.ops.lwc
ATEN: Any = torch.ops.aten
LAYERS = (LWC.conv2d.default, LWC.linear.default, ATEN.mean.dim)
ARM = "arm64"


def quantized(program: Program, samples: Samples) -> Program:
    return quantize(program, samples, lambda text: None)


def layers(program: Program) -> list[fx.Node]:
    return list(calls(program.module.graph, *LAYERS))


def is_from_integers(node: Any) -> bool:
    return node.target is LWC.dequantize.default


# What is quantized.


@pytest.mark.parametrize("name", NETS)
def test_every_layer_reads_integers(name: str, rng: torch.Generator) -> None:
    make, shape = NETS[name]
    program = rewritten(make(), shape, rng)
    after = quantized(program, samples_of(program, rng))
    assert len(layers(after)) == len(layers(program)) >= 4
    for layer in layers(after):
        assert is_from_integers(layer.args[0])
        if layer.target is not ATEN.mean.dim:
            weight = named_arguments(layer)["weight"]
            assert weight.target is LWC.dequantize_weight.default
            stored = constant(after.module, weight.args[0])
            assert stored is not None
            # Symmetric, and in full use of each channel.
            assert stored.dtype == torch.int8
            assert stored.abs().flatten(1).amax(1).tolist() == [127] * len(stored)
    # The program that was given is as it was.
    assert not any("quantize" in name for name in operators(program))


@pytest.mark.parametrize("name", NETS)
def test_no_layer_in_float32_is_left(name: str, rng: torch.Generator) -> None:
    make, shape = NETS[name]
    program = rewritten(make(), shape, rng)
    found = integers(program, samples_of(program, rng))
    assert layers(found.integer) == []
    assert found.quantization.float_layers == 0
    assert found.quantization.integer_layers == {"convolutions": 5, "tokens": 4}[name]
    assert found.quantization.calibration == "noise"


def test_a_chain_of_convolutions_is_quantized_once(rng: torch.Generator) -> None:
    program = rewritten(Convolutions(), IMAGE, rng)
    after = integers(program, samples_of(program, rng)).integer
    # The input alone: each layer writes what the next one reads.
    assert operators(after).count("lwc.quantize.default") == 1
    assert "lwc.dequantize.default" not in operators(after)


def residuals(program: Program) -> list[fx.Node]:
    found = [named_arguments(node).get("residual") for node in layers(program)]
    return [node for node in found if node is not None]


def test_a_residual_that_a_layer_reads_is_integers_too(rng: torch.Generator) -> None:
    program = rewritten(Convolutions(), IMAGE, rng)
    (residual,) = residuals(quantized(program, samples_of(program, rng)))
    assert is_from_integers(residual)


def test_the_trunk_of_a_transformer_stays_float(rng: torch.Generator) -> None:
    program = rewritten(Tokens(), TOKENS, rng)
    found = residuals(quantized(program, samples_of(program, rng)))
    assert len(found) == 2
    assert not any(map(is_from_integers, found))


GROUPED = nn.Conv2d(6, 6, 3, groups=3)
FLOAT: dict[str, Callable[..., Any]] = {
    "groups that are not depthwise": nn.Sequential(nn.Conv2d(3, 6, 1), GROUPED),
    "a weight that is computed": lambda x: functional.linear(x, x[0, 0, :, :] + 1),
    "a mean over everything": lambda x: x.mean(),
}


@pytest.mark.parametrize("name", FLOAT)
def test_what_has_no_integer_kernel_stays_float(name: str, rng: torch.Generator) -> None:
    program = rewritten(FLOAT[name], IMAGE, rng)
    after = quantized(program, samples_of(program, rng, 4))
    assert any(not is_from_integers(layer.args[0]) for layer in layers(after)) or not layers(after)
    assert rms(run(after, program.inputs)[0] - run(program, program.inputs)[0]) < 1


# With which numbers.


def quantizations(program: Program) -> list[tuple[float, int, str]]:
    views = [QuantizeView.of(node) for node in calls(program.module.graph, LWC.quantize.default)]
    return [(view.inverse_scale, view.zero_point, view.dtype) for view in views]


@pytest.mark.parametrize("name", NETS)
def test_the_target_chooses_the_type_and_not_the_numbers(name: str, rng: torch.Generator) -> None:
    make, shape = NETS[name]
    program = rewritten(make(), shape, rng)
    samples = samples_of(program, rng)
    unsigned = quantized(program, samples)
    signed = quantized(replace(program, target=resolve_target(ARM)), samples)
    assert [dtype for *_, dtype in quantizations(unsigned)] == ["uint8"] * len(quantizations(unsigned))
    assert quantizations(signed) == [
        (inverse, zero_point - 128, "int8") for inverse, zero_point, _ in quantizations(unsigned)
    ]
    for sample in samples[:3]:
        assert torch.equal(run(signed, sample)[0], run(unsigned, sample)[0])


@pytest.mark.parametrize("target", [X86, ARM])
def test_integers_are_of_the_type_of_the_target(target: str, rng: torch.Generator) -> None:
    program = rewritten(Convolutions(), IMAGE, rng, target)
    after = integers(program, samples_of(program, rng)).integer
    kinds = {
        named_arguments(node)["x"].meta["val"].dtype
        for node in calls(after.module.graph, LWC.qconv2d.default)
    }
    assert kinds == {torch.uint8 if target == X86 else torch.int8}


def test_what_is_quantized_is_read_with_the_same_scale(rng: torch.Generator) -> None:
    program = rewritten(Convolutions(), IMAGE, rng)
    after = quantized(program, samples_of(program, rng))
    nodes = list(calls(after.module.graph, LWC.dequantize.default))
    assert len(nodes) >= 5
    for node in nodes:
        view, source = DequantizeView.of(node), QuantizeView.of(node.args[0])  # type: ignore[arg-type]
        scale = constant(after.module, view.scale)
        assert scale is not None
        assert float(scale) * source.inverse_scale == pytest.approx(1, rel=1e-6)
        assert view.zero_point == source.zero_point


def test_after_relu6_all_integers_are_for_numbers_from_0(rng: torch.Generator) -> None:
    def function(own: nn.Module, last: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(last(functional.relu6(own(x) * 4)))

    program = program_of(function, IMAGE, rng=rng, parts=(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)))
    program, _ = run_pipeline(Pipeline.parse("default,-select-depthwise-kernel"), program)
    after = quantized(program, samples_of(program, rng))
    assert quantizations(after)[1][1:] == (0, "uint8")


def test_zero_is_an_integer(rng: torch.Generator) -> None:
    # Paddings are of the real number 0, so 0 is in range even where all inputs are far above it.
    program = rewritten(nn.Conv2d(3, 4, 3, padding=1), IMAGE, rng)
    samples = tuple((5 + torch.rand(IMAGE, generator=rng),) for _ in range(8))
    ((inverse, zero_point, _),) = quantizations(quantized(program, samples))
    assert zero_point == 0
    assert 255 / inverse == pytest.approx(6, rel=0.02)


# The bias correction.


def test_corrected_biases_bring_the_mean_back(rng: torch.Generator) -> None:
    # Nine weights of a channel, one far above the others: their roundings do not average out.
    conv = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    program = rewritten(nn.Sequential(conv), (1, 8, 10, 10), rng)
    (layer,) = layers(program)
    weight = constant(program.module, named_arguments(layer)["weight"])
    assert weight is not None
    weight[..., 1, 1] = 40.0
    samples = tuple((torch.rand(1, 8, 10, 10, generator=rng) + 1,) for _ in range(16))

    def shift(other: Program) -> torch.Tensor:
        differences = [run(other, sample)[0] - run(program, sample)[0] for sample in samples]
        return torch.stack(differences).mean((0, 1, 3, 4)).abs()

    after = quantized(program, samples)
    before = shift(after)
    assert correct_biases(after, program, samples) == 1
    # What is left is what the rounded inputs shift.
    assert rms(shift(after)) < 0.5 * rms(before)


def test_a_layer_without_a_bias_gets_one(rng: torch.Generator) -> None:
    program = rewritten(nn.Linear(16, 8, bias=False), TOKENS, rng)
    samples = samples_of(program, rng)
    after = quantized(program, samples)
    correct_biases(after, program, samples)
    (layer,) = layers(after)
    bias = constant(after.module, named_arguments(layer)["bias"])
    assert bias is not None
    assert bias.shape == (8,)
    assert 0 < rms(bias) < 0.1


def test_the_correction_of_the_float_program_is_nothing(rng: torch.Generator) -> None:
    program = rewritten(Convolutions(), IMAGE, rng)
    assert correct_biases(program, program, samples_of(program, rng, 2)) == 0


# A graph that PyTorch quantized.


def from_pt2e(rng: torch.Generator) -> tuple[fx.GraphModule, torch.Tensor]:
    """A convolution and a linear layer, quantized by torchao with rules of its own."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    def function(own: nn.Module, last: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(last(own(x).relu().flatten(2)))

    parts = (nn.Conv2d(3, 8, 3), nn.Linear(100, 10))
    program = program_of(function, IMAGE, rng=rng, parts=parts)
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    exported = torch.export.export(program.module, program.inputs).module()
    prepared = prepare_pt2e(exported, quantizer)
    for sample in samples_of(program, rng, 8):
        prepared(*sample)
    return convert_pt2e(prepared), program.inputs[0]


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_graph_that_pt2e_quantized_is_raised(dtype: str, rng: torch.Generator) -> None:
    module, x = from_pt2e(rng)
    with torch.no_grad():
        want = module(x)
    raise_quantization(module, dtype)
    module.recompile()
    names = [str(node.target) for node in module.graph.nodes]
    assert not any("quantized_decomposed" in name for name in names)
    assert names.count("lwc.dequantize_weight.default") == 2
    assert names.count("lwc.quantize.default") >= 2
    assert names.count("lwc.dequantize.default") >= 2
    kinds = {QuantizeView.of(node).dtype for node in calls(module.graph, LWC.quantize.default)}
    assert kinds == {dtype}
    with torch.no_grad():
        got = module(x)
    # A number between two integers may become the other one.
    assert rms(got - want) <= 0.01 * rms(want)


# End to end.


@pytest.mark.parametrize("target", [X86, ARM])
@pytest.mark.parametrize("name", NETS)
def test_the_integers_say_what_the_model_says(name: str, target: str, rng: torch.Generator) -> None:
    make, shape = NETS[name]
    program = rewritten(make(), shape, rng, target)
    samples = samples_of(program, rng, 32)
    found = integers(program, samples)
    (told,) = found.quantization.signal_to_noise_db
    assert told is not None
    assert told > 15
    # As on inputs that were not measured.
    fresh = samples_of(program, rng, 8)
    want, got = (torch.cat([run(p, x)[0] for x in fresh]).numpy() for p in (program, found.integer))
    measured = signal_to_noise_db(want, got)
    assert measured is not None
    assert measured > 15


@pytest.mark.parametrize("name", NETS)
def test_more_samples_are_noted(name: str, rng: torch.Generator) -> None:
    make, shape = NETS[name]
    program = rewritten(make(), shape, rng)
    notes: list[str] = []
    to_integers(program, CalibrationData(samples_of(program, rng, 3), "noise"), notes.append)
    assert notes == ["sample 1 of 3", "sample 2 of 3", "sample 3 of 3"]


def test_a_wrong_integer_pass_is_found(rng: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    from lwc import quantizing

    def wrong(pipeline: Pipeline, program: Program) -> Any:
        after, records = run_pipeline(pipeline, program)
        *_, layer = calls(after.module.graph, LWC.qlinear.default)
        value = constant(after.module, named_arguments(layer)["multiplier"])
        assert value is not None
        value *= 1.5
        return after, records

    monkeypatch.setattr(quantizing, "run_pipeline", wrong)
    program = rewritten(Convolutions(), IMAGE, rng)
    with pytest.raises(VerificationError, match="int8: the integer program differs from the model"):
        integers(program, samples_of(program, rng))
