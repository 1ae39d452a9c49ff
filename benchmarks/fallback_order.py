"""In which order layers go back to float32: what the outputs gain from each of three orders, in decibels.

    python benchmarks/fallback_order.py MODEL CALIBRATION [EVALUATION]

`alone` is the order that `--accuracy-budget` takes: by the outputs where one layer alone is rounded. `left out` is by
the outputs where all others are, `own` by the layer's own result. The outputs are those on the images of EVALUATION,
or on those of CALIBRATION.
"""

import argparse
import math
from collections.abc import Sequence

from float_program import float_program, silent

from lwc.models.load import load_model
from lwc.models.request import ModelRequest
from lwc.quantize.data import read_calibration
from lwc.quantize.layers import restore_float, rounded_layers
from lwc.quantize.noise import layer_noise, spread
from lwc.quantize.quantize import Sample
from lwc.quantize.sensitivity import output_noise, outputs_db
from lwc.quantizing import Quantized, to_integers

COUNTS = (0, 1, 2, 3, 5, 8, 12, 18)


def orders(found: Quantized, samples: Sequence[Sample]) -> dict[str, list[str]]:
    """The layers in each order, those that go back first in front."""
    original, rounded = found.original, found.rounded
    layers = list(rounded_layers(rounded))
    left_out = {
        layer: outputs_db(original, restore_float(rounded, original, [layer]), samples) for layer in layers
    }
    own = {noise.layer: noise.own_db for noise in layer_noise(original, rounded, samples)}
    return {
        "alone": list(output_noise(original, rounded, samples, silent)),
        "left out": sorted(layers, key=lambda layer: -(left_out[layer] or math.inf)),
        "own": sorted(layers, key=lambda layer: own[layer] or math.inf),
    }


def main() -> None:
    """Prints a line for each number of layers in float32."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("calibration")
    parser.add_argument("evaluation", nargs="?")
    given = parser.parse_args()
    model = load_model(ModelRequest(given.model), print)
    data = read_calibration(given.calibration, model, 0, print)
    tried = read_calibration(given.evaluation or given.calibration, model, 0, print).samples
    found = to_integers(float_program(model), data, silent)
    ranked = orders(found, spread(data.samples))
    print("in float32", *(f"{name:>8}" for name in ranked))
    for count in COUNTS:
        programs = [restore_float(found.rounded, found.original, order[:count]) for order in ranked.values()]
        ratios = [outputs_db(found.original, program, tried) or math.inf for program in programs]
        print(f"{count:10}", *(f"{ratio:8.1f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()
