"""Signal to noise by layer, and layers that go back to float32."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lwc.graph import calls
from lwc.quantize.data import CalibrationData
from lwc.quantize.layers import restore_float, rounded_layers
from lwc.quantize.noise import layer_noise, signal_to_noise_db, spread
from lwc.quantize.sensitivity import output_noise
from lwc.quantizing import Quantized, with_float_layers
from lwc.trace import Program, trace
from tests.programs import Compute, operators, random_inputs, run
from tests.quantize.nets import (
    IMAGE,
    NETS,
    Convolutions,
    Samples,
    harmed,
    integers,
    rewritten,
    samples_of,
    without_kernels,
)

LAYERS = ["stem", "expand", "depthwise", "project", "", "head"]


def convolutions(rng: torch.Generator) -> tuple[Program, Samples, Quantized]:
    """The net in float32, its samples, and on integers."""
    program = rewritten(Convolutions(), IMAGE, rng)
    samples = samples_of(program, rng)
    return program, samples, integers(program, samples)


def restored(found: Quantized, *layers: str) -> Program:
    return restore_float(found.rounded, found.original, layers)


def output_db(want: Program, got: Program, samples: Samples) -> float:
    """Of the only output, over all samples."""
    stacks = (np.stack([run(p, x)[0].numpy() for x in samples]) for p in (want, got))
    value = signal_to_noise_db(*stacks)
    assert value is not None
    return value


# Names.


def test_layers_have_the_model_s_names(rng: torch.Generator) -> None:
    _, _, found = convolutions(rng)
    names = list(rounded_layers(found.rounded))
    # The mean is of no module but the whole.
    assert names[:4] == LAYERS[:4]
    assert names[5] == "head"
    assert names[4].startswith("mean")
    assert [layer.layer for layer in found.quantization.layers] == names


def test_a_module_that_is_used_twice_is_two_layers(rng: torch.Generator) -> None:
    layer = nn.Linear(8, 8)
    net = Compute(lambda own, x: own(functional.relu(own(x))), layer)
    program = rewritten(net, (4, 8), rng)
    names = list(rounded_layers(integers(program, samples_of(program, rng)).rounded))
    assert len(names) == len(set(names)) == 2
    assert all(name.startswith("parts.0 (") for name in names)


# Noise.


@pytest.mark.parametrize("name", NETS)
def test_own_noise_is_that_of_the_layer_alone(name: str, rng: torch.Generator) -> None:
    """As where the layer is the last one of a program in which it alone is rounded."""
    make, shape = NETS[name]
    program = rewritten(make(), shape, rng)
    samples = samples_of(program, rng, 4)
    found = integers(program, samples)
    *others, last = (layer.layer for layer in found.quantization.layers)
    alone = restored(found, *others)
    noise = found.quantization.layers[-1]
    # Over all samples the variance includes that between them; over one it is the same.
    (told,) = (item for item in layer_noise(program, found.rounded, samples[:1]) if item.layer == last)
    assert told.own_db == pytest.approx(output_db(program, alone, samples[:1]), abs=1e-2)
    assert told.accumulated_db == pytest.approx(output_db(program, found.rounded, samples[:1]), abs=1e-2)
    assert noise.own_db is not None
    assert noise.accumulated_db is not None
    # What comes before adds to it, or takes a little of it away.
    assert noise.accumulated_db < noise.own_db + 3


def test_the_first_layer_has_its_own_noise_alone(rng: torch.Generator) -> None:
    _, _, found = convolutions(rng)
    first = found.quantization.layers[0]
    assert first.own_db == first.accumulated_db
    assert first.own_db is not None
    assert 20 < first.own_db < 70


def test_decibels() -> None:
    want = np.array([0, 2, 0, 2], np.float32)
    assert signal_to_noise_db(want, want + np.float32(0.1)) == pytest.approx(20, abs=1e-4)
    # There is no such ratio of what is exact, or does not vary.
    assert signal_to_noise_db(want, want) is None
    assert signal_to_noise_db(np.ones(4, np.float32), want) is None


def test_a_few_samples_from_all_over_are_measured(rng: torch.Generator) -> None:
    samples = [(torch.full((1,), float(number)),) for number in range(100)]
    assert [int(x[0]) for x in spread(samples)] == [0, 12, 24, 36, 48, 60, 72, 84]
    assert spread(samples[:5]) == samples[:5]
    _, _, found = convolutions(rng)
    assert found.quantization.noise_samples == 8


# Back to float32.


def test_all_layers_back_is_the_program_before(rng: torch.Generator) -> None:
    program, samples, found = convolutions(rng)
    again = restored(found, *rounded_layers(found.rounded))
    assert not rounded_layers(again)
    assert not [name for name in operators(again) if "quantize" in name]
    assert torch.equal(run(again, samples[0])[0], run(program, samples[0])[0])


@pytest.mark.parametrize("layer", LAYERS)
def test_one_layer_back_keeps_the_others_on_integers(layer: str, rng: torch.Generator) -> None:
    _, samples, found = convolutions(rng)
    name = layer or list(rounded_layers(found.rounded))[4]
    before = operators(found.rounded)
    fewer = with_float_layers(found, {name}, CalibrationData(samples, "noise"))
    assert operators(found.rounded) == before
    kept = [item.layer for item in found.quantization.layers if item.layer != name]
    assert list(rounded_layers(fewer.rounded)) == [item.layer for item in fewer.quantization.layers] == kept
    weighted = int(layer != "")
    assert fewer.quantization.float_layers == weighted
    assert fewer.quantization.integer_layers == found.quantization.integer_layers - weighted
    convolutions_left = list(calls(fewer.integer.module.graph, torch.ops.lwc.qconv2d.default))
    assert len(convolutions_left) == 4 - (layer in LAYERS[:4])


def test_rounding_fewer_layers_is_less_noise(rng: torch.Generator) -> None:
    program, samples, found = convolutions(rng)
    names = list(rounded_layers(found.rounded))
    # The last ones, which nothing after them covers.
    ratios = [output_db(program, restored(found, *names[6 - count :]), samples) for count in (0, 1, 3)]
    assert ratios == sorted(ratios)
    assert ratios[0] < ratios[-1] - 3
    exact = restored(found, *names)
    assert all(torch.equal(run(program, x)[0], run(exact, x)[0]) for x in samples)


# Harm.


def test_the_harmful_layer_is_found(rng: torch.Generator) -> None:
    program = without_kernels(trace(harmed(rng), random_inputs((IMAGE,), rng), ("x",)))
    samples = samples_of(program, rng)
    found = integers(program, samples)
    notes: list[str] = []
    harm = output_noise(program, found.rounded, samples, notes.append)
    assert notes == [f"layer {number} of 5 alone" for number in range(1, 6)]
    assert next(iter(harm)) == "second"
    worst, second, *_ = harm.values()
    assert worst is not None
    assert second is not None
    assert worst < second - 10
    # It says what a program says in which that layer alone is rounded.
    others = [name for name in harm if name != "second"]
    assert worst == pytest.approx(output_db(program, restored(found, *others), samples), abs=1e-3)
