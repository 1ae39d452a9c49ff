"""`--accuracy-budget`: the fewest layers go back to float32 with which the model is right nearly as often as before.

Layers go back in the order of the harm that rounding each does, the most harmful first. What is faster in float32 on
this machine stays in it too, where that keeps to the budget.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from lwc.errors import VerificationError
from lwc.float_speed import Speed, measure_speed
from lwc.graph import aten
from lwc.layer_times import LayerTimer
from lwc.models.evaluate import LabelledImage, evaluate
from lwc.models.request import LoadedModel
from lwc.package.quantization import AccuracyBudget, Fallback
from lwc.quantize.data import CalibrationData
from lwc.quantize.layers import rounded_layers
from lwc.quantize.noise import spread
from lwc.quantize.sensitivity import output_noise
from lwc.quantizing import Quantized, with_float_layers

_NONE = frozenset[str]()


@dataclass(frozen=True)
class Budget:
    """The top-1 of `model` on `images` may fall by `allowed`, a share of them; `note` is told of the progress."""

    allowed: float
    model: LoadedModel
    images: Sequence[LabelledImage]
    note: Callable[[str], None]

    def right(self, module: torch.nn.Module, what: str) -> int:
        """For how many images the likeliest class of `module` is theirs; `what` it is, for the progress."""
        (found,) = evaluate([module], self.model, self.images, lambda text: self.note(f"{what}: {text}"))
        return found.top1


def within_budget(
    budget: Budget, quantized: Quantized, data: CalibrationData, timer: LayerTimer | None
) -> Quantized:
    """`quantized` with as few layers in float32 as `budget` allows, by the ranges of `data`.

    They are found by bisection, as if no further layer in float32 did harm. Without `timer` no time is measured.
    Raises VerificationError where the top-1 falls further as long as one layer with weights is on integers.
    """
    attempts = _Attempts(budget, quantized, data, budget.right(quantized.original.module, "in float32"))
    harm = output_noise(quantized.original, quantized.rounded, spread(data.samples), budget.note)
    needed = _fewest(attempts, list(harm))
    speed = None if timer is None else measure_speed(timer, quantized, data, budget.note)
    chosen = needed if speed is None else needed | speed.faster
    if not attempts.is_within(chosen) or attempts.program(chosen).quantization.integer_layers == 0:
        chosen = needed
    found = attempts.program(chosen)
    fallbacks = [_fallback(layer, harm[layer], layer in needed, speed) for layer in harm if layer in chosen]
    integer_run, run = _runs(speed, found, quantized)
    described = AccuracyBudget(
        budget=budget.allowed,
        integer_drop=attempts.lost(_NONE) / len(budget.images),
        drop=attempts.lost(chosen) / len(budget.images),
        fallbacks=tuple(fallbacks),
        integer_run_us=integer_run,
        run_us=run,
    )
    return replace(found, quantization=found.quantization.model_copy(update={"accuracy_budget": described}))


@dataclass(frozen=True)
class _Attempts:
    """Programs with some layers in float32, each made and tried once; `before` are right in float32."""

    budget: Budget
    quantized: Quantized
    data: CalibrationData
    before: int
    tried: dict[frozenset[str], tuple[Quantized, int]] = field(default_factory=dict)

    def program(self, layers: frozenset[str]) -> Quantized:
        """That with `layers` in float32."""
        return self._attempt(layers)[0]

    def lost(self, layers: frozenset[str]) -> int:
        """For how many images less it is right."""
        return self._attempt(layers)[1]

    def is_within(self, layers: frozenset[str]) -> bool:
        """Whether that keeps to the budget."""
        # Of 100 images 0.29 are 29, not 28.999999999999996.
        return self.lost(layers) <= self.budget.allowed * len(self.budget.images) + 1e-9

    def _attempt(self, layers: frozenset[str]) -> tuple[Quantized, int]:
        if layers not in self.tried:
            program = with_float_layers(self.quantized, layers, self.data) if layers else self.quantized
            right = self.budget.right(program.integer.module, f"{len(layers)} layers in float32")
            self.tried[layers] = program, self.before - right
        return self.tried[layers]


def _fewest(attempts: _Attempts, ranked: Sequence[str]) -> frozenset[str]:
    """The fewest of `ranked`, from the first on, that keep to the budget. Raises as `within_budget` does."""
    if attempts.is_within(_NONE):
        return _NONE
    candidates = [frozenset(ranked[:count]) for count in range(_most(attempts.quantized, ranked) + 1)]
    place = bisect_left(candidates, True, key=attempts.is_within)
    if place < len(candidates):
        return candidates[place]
    budget, lost = attempts.budget, attempts.lost(candidates[-1])
    raise VerificationError(
        f"{budget.model.name}: top-1 falls by {lost / len(budget.images):.3g} even with all layers but one in float32,"
        f" the accuracy budget is {budget.allowed:g}; allow more, calibrate on other images, or compile with"
        " --precision fp32"
    )


def _most(quantized: Quantized, ranked: Sequence[str]) -> int:
    """How many of `ranked` can be in float32 with a layer that has weights left on integers."""
    layers = rounded_layers(quantized.rounded)
    weighted = (place for place, layer in enumerate(ranked) if layers[layer].target is not aten.mean.dim)
    return max(weighted, default=0)


def _fallback(layer: str, output_db: float | None, is_needed: bool, speed: Speed | None) -> Fallback:
    return Fallback(
        layer=layer,
        reason="accuracy" if is_needed else "speed",
        output_db=output_db,
        integer_us=None if speed is None else speed.integer.layers.get(layer),
        float_us=None if speed is None else speed.float32.layers.get(layer),
    )


def _runs(speed: Speed | None, found: Quantized, quantized: Quantized) -> tuple[float | None, float | None]:
    """Microseconds of a run with all layers on integers, and of one of what was found."""
    if speed is None:
        return None, None
    return (speed.integer.run, speed.integer.run) if found is quantized else speed.runs(found)
