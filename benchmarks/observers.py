"""What each way to find the ranges of activations makes of a classifier: images that are right, and decibels.

    python benchmarks/observers.py MODEL CALIBRATION LABELLED

The signal to noise is that of the outputs on all images of LABELLED, against those in float32.
"""

import argparse
from pathlib import Path

from float_program import float_program, silent

from lwc.models.evaluate import evaluate, read_labels
from lwc.models.load import load_model
from lwc.models.request import ModelRequest
from lwc.quantize.choices import OBSERVERS, Rules
from lwc.quantize.data import read_calibration
from lwc.quantize.sensitivity import outputs_db
from lwc.quantizing import to_integers


def main() -> None:
    """Prints a line for float32 and one for each observer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("calibration")
    parser.add_argument("labelled", type=Path)
    given = parser.parse_args()
    model = load_model(ModelRequest(given.model), print)
    data = read_calibration(given.calibration, model, 0, print)
    images, samples = (
        read_labels(given.labelled),
        read_calibration(str(given.labelled), model, 0, print).samples,
    )
    program = float_program(model)
    (original,) = evaluate([model.module], model, images, silent)
    print(f"{'float32':<15} {original.top1} of {original.images}")
    for observer in OBSERVERS:
        found = to_integers(program, data, silent, Rules(observer))
        (right,) = evaluate([found.integer.module], model, images, silent)
        print(
            f"{observer:<15} {right.top1}, {outputs_db(program, found.integer, samples):.2f} dB", flush=True
        )


if __name__ == "__main__":
    main()
