"""What `lwc compile` says of INT8."""

import math
from collections.abc import Iterator

from lwc.cli.units import short_microseconds
from lwc.package.manifest import Manifest
from lwc.package.quantization import AccuracyBudget, Fallback, LayerNoise, Quantization

Fact = tuple[str, str]

# Of the layers with most noise.
_SHOWN = 3


def quantization_facts(manifest: Manifest) -> Iterator[Fact]:
    """The lines on INT8; none for a package in float32."""
    found = manifest.quantization
    if found is None:
        return
    layers = f"{found.integer_layers} layers on integers"
    if found.float_layers:
        layers += f", {found.float_layers} in float32"
    if found.equalized_tensors:
        layers += f"; {found.equalized_tensors} tensors equalized"
    noise = ", ".join(map(decibels, found.signal_to_noise_db))
    yield "int8", f"{layers}; {found.origin}; signal to noise {noise}"
    if worst := noisiest(found)[:_SHOWN]:
        listed = ", ".join(f"{layer.layer} {decibels(layer.own_db)}" for layer in worst)
        yield "  most noise", f"{listed}; all layers: `lwc noise`"
    if found.accuracy_budget is not None:
        yield from _budget_facts(found.accuracy_budget)


def noisiest(found: Quantization) -> list[LayerNoise]:
    """The layers by their own noise, the most first; those that are exact are last."""
    return sorted(found.layers, key=lambda item: math.inf if item.own_db is None else item.own_db)


def decibels(value: float | None) -> str:
    """A signal-to-noise ratio as text."""
    return "exact" if value is None else f"{value:.1f} dB"


def _budget_facts(found: AccuracyBudget) -> Iterator[Fact]:
    before = f"with all layers on integers by {found.integer_drop:.3g}"
    yield "budget", f"top-1 falls by {found.drop:.3g} of at most {found.budget:g}; {before}"
    if not found.fallbacks:
        yield "  in float32", "no layer for it"
        return
    for fallback in found.fallbacks:
        alone = f"output with it alone rounded: {decibels(fallback.output_db)}"
        yield "  in float32", f"{fallback.layer} for {fallback.reason}: {_cost(fallback)}; {alone}"
    if found.integer_run_us is not None and found.run_us is not None:
        before, after = map(short_microseconds, (found.integer_run_us, found.run_us))
        change = found.run_us / found.integer_run_us - 1
        yield "  a run", f"{after}, with all layers on integers {before} ({change:+.0%})"


def _cost(fallback: Fallback) -> str:
    if fallback.integer_us is None or fallback.float_us is None:
        return "its time is not known: the target is not this machine, or no call is its alone"
    before, after = map(short_microseconds, (fallback.integer_us, fallback.float_us))
    return f"{after}, on integers {before}"
