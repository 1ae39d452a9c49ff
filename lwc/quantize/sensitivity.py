"""Which layers' rounding harms the model's outputs most.

Each layer is rounded alone, all others in float32, and the outputs are compared. With MobileNetV1 and ImageNet weights,
putting layers back to float32 in this order gains more than in that of what the outputs gain from each by itself with
all others rounded, which the others' noise hides, and than in that of each result's own noise, which layers after it
may amplify or not (docs/int8_accuracy.md has the figures).
"""

import math
from collections.abc import Callable, Sequence

from lwc.quantize.layers import restore_float, rounded_layers
from lwc.quantize.noise import signal_to_noise_db, stacked_outputs
from lwc.quantize.quantize import Sample
from lwc.trace import Program


def output_noise(
    original: Program, quantized: Program, samples: Sequence[Sample], note: Callable[[str], None]
) -> dict[str, float | None]:
    """What rounding one layer does to the outputs, by the layer's name, the most harmful one first.

    The signal-to-noise ratio in decibels over all `samples`, of several outputs the worst; None where they are exact.
    `quantized` was made from `original`; `note` is told how far the measuring is.
    """
    layers = list(rounded_layers(quantized))
    found: dict[str, float | None] = {}
    for number, layer in enumerate(layers, start=1):
        note(f"layer {number} of {len(layers)} alone")
        alone = restore_float(quantized, original, [other for other in layers if other != layer])
        found[layer] = outputs_db(original, alone, samples)
    return dict(sorted(found.items(), key=lambda item: math.inf if item[1] is None else item[1]))


def outputs_db(original: Program, rounded: Program, samples: Sequence[Sample]) -> float | None:
    """The signal-to-noise ratio in decibels of the outputs of `rounded` against those of `original`, over `samples`.

    Of several outputs the worst; None where all are exact.
    """
    ratios = map(signal_to_noise_db, *(stacked_outputs(item.module, samples) for item in (original, rounded)))
    return min((ratio for ratio in ratios if ratio is not None), default=None)
