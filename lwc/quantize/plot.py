"""The noise of a quantized model's layers as a picture."""

from typing import IO

import matplotlib

from lwc.package.quantization import Quantization

matplotlib.use("Agg")
from matplotlib import pyplot

_INCHES_A_LAYER = 0.2


def noise_plot(found: Quantization, title: str, file: IO[bytes], form: str) -> None:
    """Draws each layer's signal-to-noise ratios in decibels, the first layer on top; `form`: "png" or "svg".

    An exact layer has no mark.
    """
    names = [layer.layer for layer in found.layers]
    height = 2 + _INCHES_A_LAYER * len(names)
    figure, axes = pyplot.subplots(figsize=(9, height), layout="constrained")
    places = range(len(names))
    # Matplotlib leaves NaN out.
    ratios = {
        "this layer's rounding alone": [_number(layer.own_db) for layer in found.layers],
        "with that of all layers before it": [_number(layer.accumulated_db) for layer in found.layers],
    }
    for (label, values), marker in zip(ratios.items(), ("o", "x"), strict=True):
        axes.plot(values, places, marker, label=label)
    axes.set_yticks(places, names, fontsize="small")
    axes.invert_yaxis()
    axes.set(title=title, xlabel="signal to noise of the layer's result, dB (more is better)")
    axes.legend()
    axes.grid(axis="both", alpha=0.2)
    figure.savefig(file, format=form, dpi=120)
    pyplot.close(figure)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
