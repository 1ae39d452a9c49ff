"""--accuracy-budget: which layers go back to float32, and what cannot be mended."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lwc.accuracy_budget
import lwc.float_speed
from lwc.accuracy_budget import Budget, within_budget
from lwc.errors import VerificationError
from lwc.float_speed import Speed, measure_speed
from lwc.layer_times import Times
from lwc.models.evaluate import LabelledImage
from lwc.models.preprocess import Preprocessing, preprocess_image
from lwc.models.request import LoadedModel
from lwc.quantize.data import CalibrationData
from lwc.quantizing import Quantized, to_integers
from lwc.trace import Program, trace
from tests.quantize.nets import IMAGE, harmed, without_kernels

COUNT = 60
_, _, *SIZE = IMAGE
HOW = Preprocessing(
    resize=None,
    resample="bilinear",
    crop=(SIZE[0], SIZE[1]),
    rescale=1 / 255,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    bgr=False,
)


def model_of(net: nn.Module) -> LoadedModel:
    """A net that takes an image of 12 x 12 pixels."""
    return LoadedModel(
        name="net",
        source="net",
        module=net.eval(),
        inputs=(torch.zeros(IMAGE),),
        input_names=("image",),
        output_names=("logits",),
        input_layouts=("NCHW",),
        output_layouts=("N,classes",),
        preprocessing=HOW,
        labels=None,
        weights="random",
    )


def case(folder: Path, rng: torch.Generator, allowed: float) -> tuple[Budget, Quantized, CalibrationData]:
    """A harmed net on integers, calibrated on images that it always classifies as they are labelled."""
    net = harmed(rng)
    paths = [folder / f"{number}.png" for number in range(COUNT)]
    for path in paths:
        shades = 255 * torch.rand((1, 1, 3), generator=rng) + 40 * torch.randn((*SIZE, 3), generator=rng)
        Image.fromarray(shades.clamp(0, 255).numpy().astype(np.uint8)).save(path)
    samples = [torch.from_numpy(preprocess_image(path, HOW)) for path in paths]
    with torch.no_grad():
        # Of random parameters one class would always be the likeliest.
        net.head.bias.sub_(torch.cat([net(pixels) for pixels in samples]).mean(0))
        images = [
            LabelledImage(path, int(net(pixels).argmax()))
            for path, pixels in zip(paths, samples, strict=True)
        ]
    program = without_kernels(trace(net, (samples[0],), ("x",)))
    data = CalibrationData(tuple((pixels,) for pixels in samples), "images")
    quantized = to_integers(program, data, lambda text: None)
    return Budget(allowed, model_of(net), images, lambda text: None), quantized, data


def kept_in_float(found: Quantized) -> list[str]:
    assert found.quantization.accuracy_budget is not None
    return [fallback.layer for fallback in found.quantization.accuracy_budget.fallbacks]


def test_the_harmful_layer_alone_goes_back(tmp_path: Path, rng: torch.Generator) -> None:
    budget, quantized, data = case(tmp_path, rng, 0.15)
    found = within_budget(budget, quantized, data, None)
    said = found.quantization.accuracy_budget
    assert said is not None
    print(said)
    assert said.budget == 0.15
    assert said.integer_drop > 0.3
    assert said.drop <= 0.15
    assert kept_in_float(found) == ["second"]
    (fallback,) = said.fallbacks
    assert fallback.reason == "accuracy"
    assert (fallback.integer_us, fallback.float_us, said.run_us) == (None, None, None)
    assert (found.quantization.integer_layers, found.quantization.float_layers) == (3, 1)
    # What is said is what the program does.
    right = budget.right(found.integer.module, "again")
    assert (COUNT - right) / COUNT == pytest.approx(said.drop)


def scripted(monkeypatch: pytest.MonkeyPatch, lost: Callable[[set[str]], int]) -> list[set[str]]:
    """Counts as images that are lost what `lost` says of the layers on integers; the programs that were tried."""
    tried: list[set[str]] = []
    layers = {"first", "second", "third", "head"}

    def right(self: Budget, module: nn.Module, what: str) -> int:
        if what == "in float32":
            return COUNT
        assert isinstance(module, torch.fx.GraphModule)
        words = {name for name in layers if any(_is_of(node, name) for node in module.graph.nodes)}
        tried.append(layers - words)
        return COUNT - lost(words)

    def _is_of(node: torch.fx.Node, layer: str) -> bool:
        integers = (torch.ops.lwc.qconv2d.default, torch.ops.lwc.qlinear.default)
        stack = node.meta.get("nn_module_stack") or {}
        return node.target in integers and any(path == layer for path, _ in stack.values())

    monkeypatch.setattr(Budget, "right", right)
    return tried


def test_within_the_budget_nothing_goes_back(
    tmp_path: Path, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, quantized, data = case(tmp_path, rng, 0.05)
    tried = scripted(monkeypatch, lambda on_integers: 3)
    found = within_budget(budget, quantized, data, None)
    assert kept_in_float(found) == []
    assert found.integer is quantized.integer
    assert tried == [set()]


def test_no_more_go_back_than_are_needed(
    tmp_path: Path, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, quantized, data = case(tmp_path, rng, 0.05)
    # Three images may be lost.
    tried = scripted(monkeypatch, lambda on_integers: 2 * len(on_integers))
    found = within_budget(budget, quantized, data, None)
    assert found.quantization.integer_layers == 1
    assert "second" in kept_in_float(found)
    # Each was tried once, and the one with a layer less in float32 was not enough.
    assert len(tried) == len({frozenset(layers) for layers in tried})
    assert max(map(len, tried)) == 3


def test_what_even_one_layer_on_integers_breaks(
    tmp_path: Path, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, quantized, data = case(tmp_path, rng, 0.05)
    scripted(monkeypatch, lambda on_integers: 6 if on_integers else 0)
    with pytest.raises(
        VerificationError, match=r"net: top-1 falls by 0\.1 even with all layers but one"
    ) as caught:
        within_budget(budget, quantized, data, None)
    assert caught.value.exit_code == 5
    assert "--precision fp32" in str(caught.value)


class Measured(Speed):
    """As if the third layer had been measured as faster in float32."""

    def __init__(self) -> None:
        times, float_times = Times(100, {"third": 5.0}), Times(200, {"third": 3.0})
        super().__init__(None, None, times, float_times, frozenset({"third"}))  # type: ignore[arg-type]

    def runs(self, chosen: Quantized) -> tuple[float, float]:
        """Microseconds."""
        return 100, 90


@pytest.mark.parametrize(("harm", "kept"), [(0, ["third"]), (6, [])])
def test_what_is_faster_in_float_stays_where_the_budget_allows_it(
    harm: int, kept: list[str], tmp_path: Path, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Speed never costs more accuracy than was allowed."""
    budget, quantized, data = case(tmp_path, rng, 0.05)
    scripted(monkeypatch, lambda on_integers: 0 if "third" in on_integers else harm)
    monkeypatch.setattr(lwc.accuracy_budget, "measure_speed", lambda *_: Measured())
    found = within_budget(budget, quantized, data, "a timer")  # type: ignore[arg-type]
    said = found.quantization.accuracy_budget
    assert said is not None
    assert kept_in_float(found) == kept
    assert [fallback.reason for fallback in said.fallbacks] == ["speed"] * len(kept)
    assert [(f.integer_us, f.float_us) for f in said.fallbacks] == [(5.0, 3.0)] * len(kept)
    assert said.integer_run_us == 100
    assert said.run_us == (90 if kept else 100)


# Speed.


class Timer:
    """Keeps what it was given instead of compiling it."""

    def compiled(self, name: str, program: Program) -> str:
        """Its name."""
        return name


ON_INTEGERS = Times(100, {"first": 10.0, "second": 20.0, "third": 30.0})


@pytest.mark.parametrize(
    ("in_float", "mixed", "faster"),
    [
        # A hundredth of a run is noise.
        ({"first": 9.0, "second": 12.0, "third": 60.0}, 95.0, {"second"}),
        ({"first": 5.0, "second": 12.0, "third": 60.0}, 95.0, {"first", "second"}),
        # Conversions cost more than is saved.
        ({"first": 5.0, "second": 12.0, "third": 60.0}, 101.0, set()),
        ({"first": 11.0, "second": 21.0, "third": 60.0}, 0.0, set()),
        # One kernel for several layers.
        ({"third": 29.0}, 95.0, set()),
    ],
)
def test_what_counts_as_faster(
    in_float: dict[str, float],
    mixed: float,
    faster: set[str],
    tmp_path: Path,
    rng: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = {"integer": ON_INTEGERS, "float32": Times(200, in_float), "faster": Times(mixed, {})}
    monkeypatch.setattr(lwc.float_speed, "time_in_turns", lambda names: [times[name] for name in names])
    _, quantized, data = case(tmp_path, rng, 0)
    speed = measure_speed(Timer(), quantized, data, lambda text: None)  # type: ignore[arg-type]
    assert speed.faster == faster
    assert (speed.integer, speed.float32) == (times["integer"], times["float32"])
